"""Texts: readers that find them, and the modality that tokenizes and caches them."""
