"""Settings, logging and the embedded servers: the only place that reads the environment."""
