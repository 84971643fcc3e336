"""The database under the rows: its connection, its time, a lease of the whole catalogue."""
