"""Retrieval metrics and the passes over a split that feed them."""
