"""Comparing pretrained networks before any training."""
