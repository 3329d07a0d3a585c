"""Sounds in files: picture networks see their log-mel spectrograms, networks for sounds hear their values."""
