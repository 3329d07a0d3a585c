"""Pictures: where they lie, how they are decoded, augmented and cached."""
