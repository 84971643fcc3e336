"""Background work, one module for each kind."""
