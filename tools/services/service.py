"""The rules of services on machines: which agent looks after one, and how one is installed."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from nebula.errors import Conflict, NebulaError, NotFound, TimedOut, UpstreamRejected
from nebula.services.health import Health
from nebula.services.map import ServiceMap
from nebula.services.nodes.client import NodeClient
from nebula.services.nodes.follow import follow, task_id
from nebula.services.nodes.node import Node, NodeHealth
from nebula.services.nodes.registry import NodeRegistry
from nebula.services.resolve import normal
from nebula.services.sizes import spoken
from nebula.tool.context import Context
from node.protocol import Hardware, RecipeInfo, ServiceReport, ServiceState, TaskRequest
from tools.services.schemas import ServiceEntry

_POLL_SECONDS = 0.5
_UP_SECONDS = 900.0
_TRIES = 3
_OUT_OF_TOUCH_SECONDS = 300.0


async def find(
    nodes: NodeRegistry, services: ServiceMap, service: str, node: str | None
) -> tuple[Node, str]:
    """Return the machine whose agent looks after a service, and the service's name there.

    Raises:
        NotFound: when no agent looks after it.
        Conflict: when several do, and no machine was named.
    """
    found: list[tuple[Node, str]] = []
    known: list[str] = []
    for there in [await nodes.get(node)] if node else await nodes.list():
        for report in there.services:
            known.append(f"{report.name} on {there.name}")
            if normal(service) in _names(services, there, report):
                found.append((there, report.name))
    if not found:
        listed = f"Looked after: {', '.join(known[:10])}." if known else "None is looked after."
        raise NotFound(
            f"No machine's agent looks after {service[:80]!r}",
            hint=f"{listed} services_deploy_ai installs one.",
        )
    if len(found) > 1:
        places = ", ".join(f"{name} on {there.name}" for there, name in found)
        raise Conflict(f"Several could be meant: {places}", hint="Name the machine with `node`.")
    return found[0]


def _names(services: ServiceMap, node: Node, report: ServiceReport) -> set[str]:
    """Return what people may call a service of an agent: its name, kind, and the map's names."""
    names = {report.name, f"{node.name}-{report.name}"}
    for spec in services.on(node.name):
        if report.port is not None and services.address(spec).endswith(f":{report.port}"):
            names |= {spec.name, *spec.aliases}
    return {normal(name) for name in names}


_STATES = {
    ServiceState.UP: Health.UP,
    ServiceState.UNHEALTHY: Health.UNHEALTHY,
    ServiceState.STARTING: Health.UNKNOWN,
}


def looked_after(
    nodes: Iterable[Node], services: ServiceMap, name: str | None = None
) -> Iterator[ServiceEntry]:
    """Return the services, or those of a name, that agents look after and the map does not have."""
    for node in nodes:
        mapped = {urlsplit(services.address(s)).port for s in services.on(node.name)}
        for report in node.services:
            named = name is None or normal(name) in _names(services, node, report)
            if named and (report.port is None or report.port not in mapped):
                yield _entry(node, report)


def _entry(node: Node, report: ServiceReport) -> ServiceEntry:
    host = urlsplit(node.url).hostname or node.name
    silent = node.health is NodeHealth.OFFLINE
    state = Health.UNKNOWN if silent else _STATES.get(report.state, Health.DOWN)
    told = "" if report.state is ServiceState.UP else report.state.value
    if report.state is ServiceState.WAITING:
        told = f"is started again ({report.restarts} times so far)"
    why = "its machine is offline" if silent else ": ".join(w for w in (told, report.reason) if w)
    return ServiceEntry(
        name=report.name,
        kind=report.kind,
        node=node.name,
        address=f"{host}:{report.port}" if report.port else host,
        state=state.value,
        reason=why,
    )


async def recipe_of(client: NodeClient, name: str) -> RecipeInfo:
    """Return what a machine can install; raises NotFound."""
    recipes = await client.recipes()
    found = next((r for r in recipes if normal(r.name) == normal(name)), None)
    if found is None:
        known = ", ".join(r.name for r in recipes) or "nothing"
        raise NotFound(
            f"{client.name} does not install {name[:60]!r}",
            hint=f"Its owner allows: {known}; config.yml on the machine says so under `recipes`.",
        )
    return found


def require_room(node: str, hardware: Hardware, recipe: RecipeInfo) -> None:
    """Refuse what would not fit on the disk or in the card; raises Conflict."""
    free = hardware.disks[0].free if hardware.disks else None
    if free is not None and free < recipe.disk:
        raise Conflict(
            f"{recipe.name} takes {spoken(recipe.disk)} of disk; {node} has {spoken(free)} free",
            hint="Make room there, or choose another machine.",
        )
    most = max((c.vram_total or 0 for c in hardware.cards), default=0)
    if most < recipe.vram:
        has = f"its largest has {spoken(most)}" if most else "it has none that can be read"
        raise Conflict(
            f"{recipe.name} needs a card with {spoken(recipe.vram)}; {node}: {has}",
            hint="nodes_list shows the machines' cards.",
        )


async def install(ctx: Context, client: NodeClient, recipe: RecipeInfo) -> ServiceReport:
    """Install a service, start it, and wait until it answers; undo all of it when it does not.

    What was installed before is not removed.

    Raises:
        UpstreamRejected: when a step failed, or it never answered.
    """
    attempt = ctx.run.job.attempts if ctx.run is not None else 0
    request = TaskRequest(
        task_id=task_id(ctx.call_id, f"install-{attempt}"),
        command=f"install:{recipe.name}",
        lease_seconds=_OUT_OF_TOUCH_SECONDS,
        job=ctx.caller.job_id,
    )
    done = await follow(ctx, client, request)
    if done.report.exit_code != 0:
        raise UpstreamRejected(
            f"{recipe.name} could not be installed on {client.name}: {_last(done.lines)}",
            hint="What was there of it is removed; the job's log has every step.",
        )
    try:
        await ctx.progress(None, f"Starting {recipe.name}")
        await client.service(recipe.name, "start")
        return await _up(client, recipe.name)
    except (NebulaError, asyncio.CancelledError):
        if not recipe.installed:
            task = task_id(ctx.call_id, f"undo-{attempt}")
            await asyncio.shield(undo(client, recipe.name, task))
        raise


async def undo(client: NodeClient, name: str, task: str) -> None:
    """Stop a service that did not come up and remove it, as far as the machine answers."""
    with contextlib.suppress(NebulaError):
        await client.service(name, "stop")
    with contextlib.suppress(NebulaError):
        await client.start(TaskRequest(task_id=task, command=f"remove:{name}"))
        ended = False
        while not ended:
            ended = (await client.task(task, wait=5)).task.state.ended


async def _up(client: NodeClient, name: str) -> ServiceReport:
    """Wait until a service answers its health check."""
    give_up = time.monotonic() + _UP_SECONDS
    while time.monotonic() < give_up:
        report = next((s for s in await client.services() if s.name == name), None)
        if report is None:
            raise NotFound(f"{client.name} lost the service {name}")
        if report.state is ServiceState.UP:
            return report
        if report.state is ServiceState.FAILED or report.restarts >= _TRIES:
            said = _last(list((await client.logs(name, lines=5)).lines))
            raise UpstreamRejected(f"{name} does not stay up: {report.reason}. It says: {said}")
        await asyncio.sleep(_POLL_SECONDS)
    raise TimedOut(f"{name} did not answer within {_UP_SECONDS:g} s")


def _last(lines: list[str]) -> str:
    said = [line.strip() for line in lines if line.strip()]
    return (said[-1] if said else "it printed nothing")[:300]
