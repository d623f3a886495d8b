"""The two servers that `benchmarks.load` drives, each in a process of its own.

Run by benchmarks.load: python -m benchmarks.load_servers model | server HOME MODEL_URL
"""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from api.server import create_server
from nebula.auth.principal import Role
from nebula.settings import Settings
from tests.fakes.openai import FakeOpenAI
from tests.fakes.serve import serve


async def model() -> None:
    """Serve a model that repeats what it was told."""
    fake = FakeOpenAI()
    async with serve(fake) as url:
        say(url=url)
        while not await stopped(1.0):
            fake.server.requests.clear()


async def server(home: str, model_url: str) -> None:
    """Serve Jarvis on a fresh folder, with a key for an administrator."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings(
        _env_file=None,
        home=Path(home),
        openai_base_url=f"{model_url}/v1",
        openai_api_key="unused",
        model_small="openai:gpt-test",
        model_large="openai:gpt-test",
        ollama_host="http://127.0.0.1:9",
    )
    app = create_server(settings)
    async with serve(app) as url:
        auth = app.state.doors.app.parts.auth
        user = await auth.people.create("load", Role.ADMIN)
        key = await auth.keys.create(user.id, "load", role=Role.ADMIN)
        say(url=url, key=key.key)
        while not await stopped(60.0):
            pass


def say(**facts: Any) -> None:
    """Tell the parent that this is ready."""
    print(json.dumps(facts), flush=True)


_END = asyncio.Event()


async def stopped(seconds: float) -> bool:
    """Wait so long for SIGTERM, and say whether it came."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _END.set)
    try:
        async with asyncio.timeout(seconds):
            await _END.wait()
    except TimeoutError:
        return False
    return True


if __name__ == "__main__":
    programs: dict[str, Callable[..., Coroutine[Any, Any, Any]]]
    programs = {"model": model, "server": server}
    asyncio.run(programs[sys.argv[1]](*sys.argv[2:]))
