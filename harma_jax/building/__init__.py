"""From a config to objects; nothing below reads a config."""
