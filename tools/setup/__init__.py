"""Guides the first configuration: says what is there, what is missing, and sets it up."""
