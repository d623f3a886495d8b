"""Who asks: users, roles, sessions, API keys and principals."""
