"""The connection to the database, its time, and the lease of the whole catalogue."""
