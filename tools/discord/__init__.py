"""Jarvis on Discord: linked accounts, and where on which server he answers whom."""
