"""Measurements on a machine at hand; nothing of the service imports them."""
