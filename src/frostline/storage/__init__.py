"""Entries on disk that several processes may fill and read."""
