"""Sounds in files, which the network sees as pictures of their log-mel spectrograms."""
