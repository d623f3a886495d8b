"""Who exists: agent profiles as data."""
