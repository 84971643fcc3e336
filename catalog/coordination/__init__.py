"""What processes coordinate through the database: numbers, turns, ownership of the index."""
