"""What can be set, by topic, and where settings come from."""
