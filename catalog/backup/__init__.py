"""Backups: write a whole catalogue into one file, check the file, restore it."""
