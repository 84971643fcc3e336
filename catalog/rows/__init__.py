"""The tables, one module each: its row and its queries."""
