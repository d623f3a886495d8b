"""The small typed language of workflows: parsed, checked and worked out here; nothing else runs."""
