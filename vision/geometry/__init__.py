"""Local features of a picture, and whether two pictures agree in where they are."""
