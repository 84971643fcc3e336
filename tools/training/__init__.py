"""Training of the committed weights; workers never import it."""
