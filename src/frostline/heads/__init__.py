"""Heads: the new layers on top of a backbone."""
