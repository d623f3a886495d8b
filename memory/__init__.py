"""Conversations, sessions and checkpoints."""
