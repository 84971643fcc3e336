"""The vector index: sets of vectors, and the search for nearest neighbours in them."""
