"""Runs programs nobody vouches for where they can reach nothing but what they were given."""
