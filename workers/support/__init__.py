"""What workers share: leases of chunks, resources, models, probes, and the start."""
