"""The HTTP API. It asks no DNS and downloads nothing; that is left to the workers."""
