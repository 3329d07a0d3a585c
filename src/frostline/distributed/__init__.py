"""Several processes of one run: who starts them, what they share, which signals end them."""
