"""What processes agree on through the database: numbers, turns, the owner of the index."""
