"""Prometheus figures of the executor."""

from prometheus_client import Counter, Histogram

_CALLS = Counter("jarvis_tool_calls", "Tool calls by outcome", ["tool", "outcome"])
_SECONDS = Histogram("jarvis_tool_seconds", "Seconds a tool call took", ["tool"])


def observe(tool: str, outcome: str, seconds: float) -> None:
    """Count one call and how long it took, in seconds."""
    _CALLS.labels(tool, outcome).inc()
    _SECONDS.labels(tool).observe(seconds)
