"""What spans several tables: taking images in, removing them, splitting a chunk, retention."""
