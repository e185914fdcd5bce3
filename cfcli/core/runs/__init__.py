"""One training on disk."""
