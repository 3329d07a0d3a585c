"""Target types: what is learned of a sample, one type per file. `find.py` discovers new files."""
