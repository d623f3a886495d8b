"""Keeps the vectors of tool descriptions, so that a start does not compute them again."""
