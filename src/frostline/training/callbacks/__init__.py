"""Callbacks of the Trainer, one per file."""
