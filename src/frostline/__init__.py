"""Frostline fine-tunes a pretrained network on your data from one line."""

__version__ = "0.1.0"
