"""Captioned images: annotations, tokens, pixels, and the order they come in."""
