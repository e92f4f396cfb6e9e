"""A local page to search an index by."""
