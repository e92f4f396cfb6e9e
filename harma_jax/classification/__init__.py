"""A folder of images told apart by the names of its classes, without training."""
