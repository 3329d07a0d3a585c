"""What the logits mean: loss, metrics and predictions, a task per file."""
