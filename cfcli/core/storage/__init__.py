"""Getting things on disk and back."""
