"""Runs the same placement policy in virtual time: what would have happened, what would another card bring."""
