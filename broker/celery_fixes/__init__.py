"""Repairs of Celery, kombu and billiard, one module each.

For each, a test shows what the library does by itself, and fails once that has changed; most are in
tests/unit/broker/test_libraries_by_themselves.py. pyproject.toml allows no version that was not
tested.
"""
