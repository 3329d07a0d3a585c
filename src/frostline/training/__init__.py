"""One run: its parts, its phases, its checkpoints."""
