"""Language models: providers, the router over them, and command mode."""
