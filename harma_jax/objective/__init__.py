"""Alignment losses: arrays in, one value per pair out."""
