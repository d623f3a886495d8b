"""Machine doors: REST, SSE, webhooks and MCP."""
