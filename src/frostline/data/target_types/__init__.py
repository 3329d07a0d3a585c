"""Target types: what is to be learned of a sample, a type per file. A new file is found by itself."""
