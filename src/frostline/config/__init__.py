"""What a configuration may say, checked without torch."""
