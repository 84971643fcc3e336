"""What processes tell of themselves and their work: keys that expire in Redis."""
