"""Embedders, one module each, which make a feature of a picture."""
