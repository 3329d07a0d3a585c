"""A family of pretrained networks per file. README.md in this folder says how to add one."""
