"""People who may sign in: their roles, and which features each role sees."""
