"""What a run leaves in its folder, and how the folder is opened again."""
