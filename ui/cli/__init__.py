"""The terminal: `jarvis up`, `chat`, `run` and the operator's commands."""
