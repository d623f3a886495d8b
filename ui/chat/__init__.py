"""The web chat: Chainlit's page over Jarvis, one concept per file."""
