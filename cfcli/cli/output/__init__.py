"""What commands say while they work, and what they say to programs."""
