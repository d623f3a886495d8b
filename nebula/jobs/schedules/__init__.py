"""Schedules: what runs by itself, when, with whose rights; each tick fires once."""
