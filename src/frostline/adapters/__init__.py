"""Adapters by peft: small modules that learn instead of the layers that they wrap."""
