"""Text of unknown origin made harmless for whoever draws it: a browser, a terminal, a messenger."""
