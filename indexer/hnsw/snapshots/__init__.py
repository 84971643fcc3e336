"""Snapshots of sets on the disk: what is written, when it counts, and how damage is seen."""
