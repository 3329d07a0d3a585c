"""New parts on top of a backbone."""
