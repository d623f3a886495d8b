"""Jarvis: the supervisor, its turns and sessions."""
