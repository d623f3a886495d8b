"""Long work: a record per job in PostgreSQL, a queue that wakes workers, and what heals both."""
