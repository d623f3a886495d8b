"""Typed tools: their definition, registry, executor, approvals, audit and rendering."""
