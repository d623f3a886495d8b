"""Measured footprints: what models took of a card and of time, instead of what the map says."""
