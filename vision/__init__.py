"""Decoding of pictures, detection of products in them, and their features."""
