"""Detectors, one module each: where in a picture the objects are."""
