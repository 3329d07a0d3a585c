"""What a person types: commands, their help, their errors, sweeps."""
