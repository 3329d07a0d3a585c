"""Find the neighbours of samples among those that a run has embedded: `frostline index` and `frostline search`."""
