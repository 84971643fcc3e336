"""gunicorn around the application: its configuration and a worker that bears slow clients."""
