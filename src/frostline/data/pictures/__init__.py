"""Pictures: readers that find them, and the modality that decodes, caches and augments them."""
