"""MongoDB, the truth of the service: every query of the project is in this package.

It knows nothing of HTTP, Celery, pictures or hnswlib.
"""
