"""Check a config without importing torch, and instantiate its nodes."""
