"""The pure train step, and what feeds it."""
