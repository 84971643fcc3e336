"""The HTTP API: thin, without torch, hnswlib, downloads or name look-ups."""
