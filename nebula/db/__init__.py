"""PostgreSQL: the embedded server, the engine, sessions and migrations."""
