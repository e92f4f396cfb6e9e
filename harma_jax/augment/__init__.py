"""Training augmentation on the device: pure functions of pixels and random keys."""
