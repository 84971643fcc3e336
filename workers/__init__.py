"""The stages of an image's way and of a search, as Celery tasks; one module per queue."""
