"""Decides what a GPU does next: pure functions over a snapshot, no clock, no I/O."""
