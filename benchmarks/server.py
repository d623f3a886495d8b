"""The scripted OpenAI-compatible server: in this process, or in one of its own.

Its model is cooperative and the same for everyone: it calls the tool that answers the request
when it is offered, else hands the request to whoever has it, and reports a result it has seen.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import ModelRequest, Reply, call, say

MODEL = "gpt-test"
ANSWER = "The GPU is idle: 11.2 of 12 GB are free and nothing is loaded."
WANTED = "containers_stats"


def cooperative(request: ModelRequest) -> Reply:
    """Call what answers, hand over, or report."""
    if WANTED in request.tools:
        return say(ANSWER) if _answered(request, WANTED) else call(WANTED, {})
    hand_over = next((name for name in request.tools if "containers" in name), None)
    if hand_over and not _answered(request, hand_over):
        asks = {"request": request.messages[-1]["content"]} if "ask" in hand_over else {}
        return call(hand_over, asks)
    return say(ANSWER)


def _answered(request: ModelRequest, tool: str) -> bool:
    """Say whether the tool was called since the person last spoke."""
    for message in reversed(request.messages):
        if message["role"] == "user":
            return False
        if any(c["function"]["name"] == tool for c in message.get("tool_calls") or ()):
            return True
    return False


@contextmanager
def served() -> Iterator[str]:
    """Run the server in a process of its own; yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Serve on a free port and print the base URL once it is taken."""
    config = uvicorn.Config(FakeOpenAI(cooperative), log_level="critical")
    # asyncio turns Nagle's delay off only where the socket says that it is TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
