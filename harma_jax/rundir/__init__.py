"""What a run leaves on a disk."""
