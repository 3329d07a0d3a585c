"""Families of pretrained networks, one per file. README.md in this folder says how to add one."""
