"""What the stages share: claims and leases of chunks, resources, the model, priority."""
