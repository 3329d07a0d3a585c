"""The command line: commands, their help, their errors, sweeps."""
