"""What clients are promised: the codes, the limits of a field, the shape of an answer."""
