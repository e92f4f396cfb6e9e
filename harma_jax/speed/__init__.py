"""How fast a config is, and what it takes."""
