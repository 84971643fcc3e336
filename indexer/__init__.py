"""Vectors in, neighbours out: sets and shards. Knows nothing of pictures or databases."""
