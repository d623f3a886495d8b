"""Prometheus figures of model calls."""

from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

if TYPE_CHECKING:
    from nebula.llm.usage import CallRecord

_CALLS = Counter("jarvis_model_calls", "Model calls by outcome", ["provider", "model", "outcome"])
_TOKENS = Counter(
    "jarvis_model_tokens", "Tokens, where counted", ["provider", "model", "direction"]
)
_SECONDS = Histogram("jarvis_model_seconds", "Seconds a model call took", ["provider", "model"])


def observe(call: "CallRecord") -> None:
    """Count one model call, its tokens and its time in seconds."""
    _CALLS.labels(call.provider, call.model, call.outcome).inc()
    _TOKENS.labels(call.provider, call.model, "input").inc(call.input_tokens or 0)
    _TOKENS.labels(call.provider, call.model, "output").inc(call.output_tokens or 0)
    _SECONDS.labels(call.provider, call.model).observe(call.seconds)
