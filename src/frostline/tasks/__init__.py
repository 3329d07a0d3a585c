"""Tasks, one per file: loss, metrics and predictions from a network's outputs."""
