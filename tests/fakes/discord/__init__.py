"""A Discord on loopback: REST and gateway of version 10, for a real discord.py client."""
