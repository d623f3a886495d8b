"""Backups: makes them, and says whether there are any, how old they are, and whether they can be read."""
