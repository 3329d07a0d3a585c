"""Phases: what learns when, and at which rate."""
