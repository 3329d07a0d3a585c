"""What people read: tables in the terminal, pages and pictures in the run folder."""
