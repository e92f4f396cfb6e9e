"""A run: its stages, its loop, its rehearsals."""
