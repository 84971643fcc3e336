"""The tables of the database, one module each: its row as a dataclass, and its queries."""
