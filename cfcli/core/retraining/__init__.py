"""A model trained again night after night."""
