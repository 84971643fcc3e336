"""What processes tell of themselves and their work, for /readyz and the doctor: keys that expire."""
