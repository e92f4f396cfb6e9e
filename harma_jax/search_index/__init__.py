"""An index of a folder of images: made, read, searched and shown."""
