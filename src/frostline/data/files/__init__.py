"""Samples that are files: folders of them, tables of their paths, and predictions for them."""
