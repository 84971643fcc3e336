"""Settings, logging and the embedded servers."""
