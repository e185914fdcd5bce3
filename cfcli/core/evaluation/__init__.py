"""A run on held-out rows."""
