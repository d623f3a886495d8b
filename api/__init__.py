"""Doors for machines: REST with its OpenAPI, server-sent events, MCP, health and metrics."""
