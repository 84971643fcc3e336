"""What is done in the background without being asked, one module for each kind of work."""
