"""Snapshots of sets on disk: their files, when they become valid, and how damage is detected."""
