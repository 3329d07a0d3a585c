"""Reports for people: tables in the terminal, and the CSV of a sweep."""
