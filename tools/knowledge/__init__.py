"""Add files, folders, web pages and repositories to knowledge; search, list and forget them; questions about how this product works."""
