"""Texts: where they lie, how they become tokens."""
