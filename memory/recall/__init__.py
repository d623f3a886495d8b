"""What Jarvis remembers of a person: short facts, each person's own."""
