"""Rows of a table with columns of several kinds: pictures, texts, numbers, categories and ids."""
