"""Charts, pictures and the report."""
