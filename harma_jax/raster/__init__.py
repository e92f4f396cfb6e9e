"""Image files and scenes to the colours that are shown: one reader for all commands."""
