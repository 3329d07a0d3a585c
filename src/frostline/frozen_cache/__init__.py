"""Outputs of frozen blocks, computed once: what was computed, where it lies, how it is made."""
