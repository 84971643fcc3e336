"""A whole catalogue in one file: written, checked, and put back."""
