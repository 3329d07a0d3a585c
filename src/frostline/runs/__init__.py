"""The files in a run folder, and how a run folder is opened again."""
