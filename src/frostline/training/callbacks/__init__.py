"""What happens beside training, a callback per file."""
