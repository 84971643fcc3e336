"""Who may call, how often, and whether there is room for more work."""
