"""What a run that has ended is asked for: numbers, comparisons, files."""
