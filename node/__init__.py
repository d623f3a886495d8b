"""The agent of one machine: tells Jarvis of its hardware, runs its work, looks after its services."""
