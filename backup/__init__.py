"""A whole catalogue in one file: written, checked, and put back.

`archive` is the file alone and knows nothing of the tables in it; what is read of MongoDB and
written to it stands in `catalog/`. Knows nothing of HTTP, Celery or Redis.
"""
