"""Sends messages to e-mail, Discord and any other service, by the names of configured channels."""
