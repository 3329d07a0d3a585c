"""Work of frozen blocks: done once, cached, reused."""
