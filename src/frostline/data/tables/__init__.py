"""Tables of any format, and the targets in their columns."""
