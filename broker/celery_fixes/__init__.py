"""Repairs of Celery, kombu and billiard, one module each."""
