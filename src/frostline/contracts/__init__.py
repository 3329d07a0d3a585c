"""What flows between parts: batches, tokens, specs, targets."""
