"""Frozen outputs: computed once, cached, reused."""
