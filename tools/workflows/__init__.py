"""Workflows: named steps of tools with data passed on, run by hand, on a schedule or on an event."""
