"""MongoDB, the source of truth of the service: every query of the project is in this package."""
