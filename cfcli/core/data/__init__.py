"""Rows to a dataset."""
