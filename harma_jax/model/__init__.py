"""CLIP towers and what adapts them: pure linen modules, no input or output."""
