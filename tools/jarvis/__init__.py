"""Jarvis itself: which language model thinks, whether providers work, switch models, what they cost."""
