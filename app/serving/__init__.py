"""gunicorn around the application: its configuration, its worker, and clients that are slow."""
