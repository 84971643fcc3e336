"""Detectors, one module each, which find the objects in a picture."""
