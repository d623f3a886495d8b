"""Command mode: understands plain commands without any language model."""
