"""Where in a sample an answer comes from: maps over pictures, shares of the words of texts."""
