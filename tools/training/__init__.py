"""Training of the committed weights; never loaded by a worker."""
