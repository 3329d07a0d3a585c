"""Read tables of several formats, and the targets in their columns."""
