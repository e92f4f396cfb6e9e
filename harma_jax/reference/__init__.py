"""What the original implementation computes, computed again."""
