"""Captioned images into TFDS data sets of ArrayRecord, without TensorFlow."""
