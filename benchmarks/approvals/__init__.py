"""The approval corpus: ways to make something run that nobody approved, and what ran."""
