"""Weights of other frameworks, read and written through one table of names."""
