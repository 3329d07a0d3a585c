"""Compare pretrained networks before any training."""
