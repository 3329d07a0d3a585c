"""Launch the processes of a run, keep them in agreement, and end them on signals."""
