"""Pictures with captions in the archives that data sets are published in."""
