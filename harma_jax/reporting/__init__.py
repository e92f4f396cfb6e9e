"""A run for people: its tables, and its page with charts."""
