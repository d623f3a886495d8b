"""Secrets at rest: sealed with a key that lies in the data folder and nowhere else."""
