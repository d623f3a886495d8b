"""Services: which AI and other services the service map knows, and whether they are up, down or slow right now."""
