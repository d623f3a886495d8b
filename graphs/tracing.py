"""Keeps LangChain's tracing from costing anything when nobody traces.

LangChain wraps every middleware hook in a LangSmith span and hands the beginning and end of each
to a thread, also when there is nothing to trace: six threads' worth of waiting in a turn with one
tool call. Without tracing all they do is say so, which needs no thread.
"""

from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from langsmith import set_runtime_overrides
from langsmith.utils import tracing_is_enabled


async def _beside(
    thread: Callable[..., Awaitable[Any]],
    context: Context,
    function: Callable[..., Any],
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Run a span's beginning or end here, or in a thread when it has something to send."""
    if tracing_is_enabled():
        return await thread(context, function, *args, **kwargs)
    return context.run(function, *args, **kwargs)


def trace_cheaply() -> None:
    """Set this for the process; LangSmith knows one such setting."""
    set_runtime_overrides(aio_to_thread=_beside)
