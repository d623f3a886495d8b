"""Loaders: one file per kind of source, each of which yields documents as sections."""
