"""A world in which tools give every secret away, and everything that comes out is collected."""
