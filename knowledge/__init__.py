"""Retrieval: load, chunk, embed, index and search documents."""
