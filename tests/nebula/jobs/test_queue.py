"""The transport of jobs: what begins is closed again, however it ends."""

import asyncio
import socket

import pytest

from nebula.jobs.queue import opened, transport


def _of_the_pool() -> list["asyncio.Task[object]"]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("pool-")]


@pytest.mark.timeout(60)
async def test_a_queue_that_is_stopped_while_it_opens_leaves_nothing_running() -> None:
    # Connections wait in its backlog: nobody ever answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        queue = transport(f"host=127.0.0.1 port={port} dbname=x", connections=2)

        async def work() -> None:
            async with opened(queue):
                raise AssertionError("nobody answers")

        working = asyncio.create_task(work())
        while not _of_the_pool():
            await asyncio.sleep(0)
        working.cancel()
        await asyncio.wait([working])
        left = _of_the_pool()
        await queue.close_async()
    assert left == []
    assert working.cancelled()
