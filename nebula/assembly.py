"""Builds the parts of the program, each once and in the order in which they need each other."""

from contextlib import AsyncExitStack
from functools import partial

import httpx

from nebula.app import Parts
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.db.open import open_database
from nebula.events.bus import Events
from nebula.gpu.open import Gpu, admit_jobs, open_gpu
from nebula.http import SafeFetch, make_http
from nebula.jobs.schedules.service import Schedules
from nebula.jobs.service import Jobs, open_jobs
from nebula.llm.command.open import command_model, open_commands
from nebula.llm.embedding import Embedder
from nebula.llm.open import open_router
from nebula.llm.router import MakeCommandModel, Router
from nebula.secrets.store import open_secrets
from nebula.services.nodes.open import open_nodes
from nebula.settings import Settings
from nebula.tool.approvals import Approvals
from nebula.tool.audit.log import Audit
from nebula.tool.judge import open_judge
from nebula.tool.limits import open_limits
from nebula.tool.registry import Registry


async def assembled(
    stack: AsyncExitStack,
    settings: Settings,
    registry: Registry | None,
    transport: httpx.AsyncBaseTransport | None,
) -> Parts:
    """Open every part; the stack closes them again in reverse order."""
    db = await stack.enter_async_context(open_database(settings))
    # Before anything that could write or send what it opens.
    secrets = await stack.enter_async_context(open_secrets(db, settings))
    events, auth = await stack.enter_async_context(Events(db)), Auth(db, settings)
    http, fetch = await _web(stack, settings, transport)
    gpu = await stack.enter_async_context(open_gpu(settings, http, db, events))
    embedder, tools = Embedder(), registry or Registry.discover("tools", "graphs")
    commands = open_commands(tools, embedder, db, gpu.services)
    think = partial(command_model, commands, tools)
    return Parts(
        settings=settings,
        db=db,
        http=http,
        fetch=fetch,
        events=events,
        services=gpu.services,
        broker=gpu.broker,
        leases=gpu.leases,
        nodes=await stack.enter_async_context(open_nodes(settings, db, events, gpu, transport)),
        embedder=embedder,
        router=await _router(stack, settings, db, think, gpu=gpu, transport=transport),
        auth=auth,
        approvals=Approvals(db, events, settings, auth),
        audit=Audit(db),
        limits=await stack.enter_async_context(open_limits(settings)),
        judge=open_judge(settings, db, events, tools, gpu.services),
        registry=tools,
        jobs=_jobs(db, events, tools, gpu),
        schedules=Schedules(db, tools),
        commands=commands,
        secrets=secrets,
    )


def _jobs(db: Database, events: Events, tools: Registry, gpu: Gpu) -> Jobs:
    """Open the jobs; those that need a GPU wait for it at the leases' gate."""
    jobs = open_jobs(db, events, tools)
    admit_jobs(gpu, jobs)
    return jobs


async def _web(
    stack: AsyncExitStack, settings: Settings, transport: httpx.AsyncBaseTransport | None
) -> tuple[httpx.AsyncClient, SafeFetch]:
    """Open the client for trusted addresses, and the guarded one for those a model chose."""
    http = await stack.enter_async_context(make_http(transport))
    fetch = SafeFetch(allow_private=settings.allow_private_fetch, transport=transport)
    await stack.enter_async_context(fetch)
    return http, fetch


async def _router(
    stack: AsyncExitStack,
    settings: Settings,
    db: Database,
    command: MakeCommandModel,
    *,
    gpu: Gpu,
    transport: httpx.AsyncBaseTransport | None,
) -> Router:
    """Open the router, which knows from the broker which models gave their card away."""
    opening = open_router(
        settings,
        db,
        command=command,
        evicted=gpu.own.evicted,
        using=gpu.own.using,
        transport=transport,
    )
    router = await stack.enter_async_context(opening)
    gpu.broker.on_change.append(router.look_for_evictions)
    return router
