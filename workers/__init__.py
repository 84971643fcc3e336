"""The Celery tasks of ingestion, search and background work; one module per worker."""
