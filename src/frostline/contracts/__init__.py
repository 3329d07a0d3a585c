"""Types that data, backbones, heads and tasks share: batches, tokens, specs, targets."""
