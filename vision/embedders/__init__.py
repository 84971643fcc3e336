"""Embedders, one module each: a picture as a vector."""
