"""Experiments: options in, a run directory out."""
