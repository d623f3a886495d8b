"""Looks at every part of the installation; what another feature knows is asked by tool name."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import text

from nebula.errors import NebulaError, PermissionDenied
from nebula.markup.words import counted
from nebula.sandbox.layers import check_layers
from nebula.services.health import Health
from nebula.tool.context import Context
from tools.setup.schemas import Check, State

_SECONDS = 8.0
_LOW_DISK = 5 * 1024**3
"""Less than one middle-sized model."""

_SERVICES = {"comfyui": "ComfyUI", "sdwebui": "SD WebUI"}


async def look(ctx: Context) -> list[Check]:
    """Run every check at once; one that fails or hangs is unknown and stops no other."""
    checks: list[tuple[str, Callable[[Context], Awaitable[list[Check]]]]] = [
        ("Database", _database),
        ("Language model", _models),
        ("GPU", _gpu),
        ("Services", _services),
        ("Notifications", _channels),
        ("Manual", _manual),
        ("Users", _users),
        ("Sandbox", _sandbox),
        ("Disk", _disk),
    ]
    found = await asyncio.gather(*(_guarded(ctx, name, check) for name, check in checks))
    return [each for group in found for each in group]


async def _guarded(
    ctx: Context, name: str, check: Callable[[Context], Awaitable[list[Check]]]
) -> list[Check]:
    try:
        async with asyncio.timeout(_SECONDS):
            return await check(ctx)
    except PermissionDenied:
        detail, step = "You may not see this", "Ask an administrator."
    except TimeoutError:
        detail, step = f"No answer within {_SECONDS:.0f} seconds", "Look again later."
    except NebulaError as error:
        detail, step = str(error), error.hint
    return [Check(name=name, state=State.UNKNOWN, detail=detail, next_step=step)]


async def _database(ctx: Context) -> list[Check]:
    async with ctx.db() as session:
        version = str(await session.scalar(text("SHOW server_version"))).split()[0]
    own = bool(ctx.parts.settings.database_url)
    where = "your own" if own else "built in, in the data folder"
    return [Check(name="Database", state=State.OK, detail=f"PostgreSQL {version}, {where}")]


async def _models(ctx: Context) -> list[Check]:
    status = await ctx.parts.router.status()
    up = {each.name: each for each in status.providers if each.state == "up"}
    ready = any(provider.models for provider in up.values())
    thinking = next((tier.active for tier in status.tiers if tier.tier == "large"), "")
    if ready:
        head = Check(name="Language model", state=State.OK, detail=f"{thinking or 'ready'} thinks")
    else:
        head = Check(
            name="Language model",
            state=State.OPTIONAL,
            detail="None: plain commands are understood, conversation is not",
            next_step="Start Ollama and load a model (`ollama pull llama3.2:3b`), or set an OpenAI "
            "key with `/setup_apply setting=openai_api_key secret=…`.",
        )
    return [head, _ollama(ctx, up), _openai(ctx, up)]


def _ollama(ctx: Context, up: dict[str, Any]) -> Check:
    address = ctx.parts.settings.ollama_host
    if "ollama" not in up:
        return Check(
            name="Ollama",
            state=State.OPTIONAL,
            detail=f"Does not answer at {address}",
            next_step="Start it, or say where it is: `/setup_apply setting=ollama_host value=http://…`.",
        )
    count = len(up["ollama"].models)
    if not count:
        return Check(
            name="Ollama",
            state=State.MISSING,
            detail="Runs, but has no model",
            next_step="Load one: `ollama pull llama3.2:3b`.",
        )
    return Check(name="Ollama", state=State.OK, detail=f"{counted(count, 'model')} at {address}")


def _openai(ctx: Context, up: dict[str, Any]) -> Check:
    settings = ctx.parts.settings
    if "openai" in up:
        return Check(name="OpenAI", state=State.OK, detail=f"Answers at {settings.openai_base_url}")
    if settings.openai_api_key.get_secret_value():
        return Check(
            name="OpenAI",
            state=State.MISSING,
            detail=f"A key is set, but {settings.openai_base_url} does not accept it or answer",
            next_step="Check the key: `/setup_apply setting=openai_api_key secret=…`.",
        )
    return Check(
        name="OpenAI",
        state=State.OPTIONAL,
        detail="No key is set",
        next_step="For a fallback: `/setup_apply setting=openai_api_key secret=…`.",
    )


async def _gpu(ctx: Context) -> list[Check]:
    snapshot = await ctx.parts.broker.snapshot()
    cards = [card for node in snapshot.nodes for card in node.gpus]
    real = [card for card in cards if not card.simulated]
    nodes = ctx.parts.services.map.nodes
    listed = Check(
        name="Nodes",
        state=State.OK if nodes else State.MISSING,
        detail=", ".join(node.name for node in nodes) or "None in the service map",
        next_step="" if nodes else "Describe your machines in service-map.yml.",
    )
    if real:
        names = ", ".join(card.name or f"card {card.index}" for card in real)
        return [Check(name="GPU", state=State.OK, detail=names), listed]
    return [
        Check(
            name="GPU",
            state=State.OPTIONAL,
            detail="No NVIDIA GPU here"
            + (", only a simulated one to try things with" if cards else ""),
            next_step="Add the machine that has one to service-map.yml.",
        ),
        listed,
    ]


async def _services(ctx: Context) -> list[Check]:
    directory = ctx.parts.services
    await directory.refresh()
    health = [each for each in await directory.health() if not each.simulated]
    checks = [
        Check(
            name="Service map",
            state=State.MISSING,
            detail=str(problem),
            next_step="Correct that line; until then the last good map stays in force.",
        )
        for problem in directory.problems
    ]
    for kind, name in _SERVICES.items():
        known = [each for each in health if each.kind == kind]
        up = [each for each in known if each.state is Health.UP]
        if up:
            where = ", ".join(each.address for each in up)
            checks.append(Check(name=name, state=State.OK, detail=f"Answers at {where}"))
            continue
        where = ", ".join(f"{each.address} ({each.reason or each.state})" for each in known)
        checks.append(
            Check(
                name=name,
                state=State.OPTIONAL,
                detail=f"Does not answer: {where}" if known else "Not in the service map",
                next_step=f"Start it, or say where it is: `/setup_apply setting={kind} value=http://…`.",
            )
        )
    return checks


async def _channels(ctx: Context) -> list[Check]:
    listed = await ctx.calls.call_by_name("notify_list_channels", {})
    channels = listed.model_dump()["channels"]
    usable = [each["name"] for each in channels if each["enabled"]]
    if usable:
        return [Check(name="Notifications", state=State.OK, detail=", ".join(usable))]
    return [
        Check(
            name="Notifications",
            state=State.OPTIONAL,
            detail="No channel",
            next_step="Add one: `/notify_set_channel name=discord address=…`.",
        )
    ]


async def _manual(ctx: Context) -> list[Check]:
    listed = await ctx.calls.call_by_name("knowledge_list", {"collection": "manual", "limit": 1})
    pages = listed.model_dump()["total"]
    if pages:
        return [
            Check(
                name="Manual", state=State.OK, detail=f"{counted(pages, 'page')}, ask it anything"
            )
        ]
    return [
        Check(
            name="Manual",
            state=State.MISSING,
            detail="Not indexed yet",
            next_step="It is indexed at the start; look again in a minute.",
        )
    ]


async def _users(ctx: Context) -> list[Check]:
    listed = await ctx.calls.call_by_name("users_list", {})
    users = listed.model_dump()["users"]
    admins = [each["name"] for each in users if each["role"] == "admin"]
    if not admins:
        return [
            Check(
                name="Users",
                state=State.MISSING,
                detail="Nobody administers this",
                next_step="`jarvis up` makes the administrator and prints a sign-in link.",
            )
        ]
    return [
        Check(name="Users", state=State.OK, detail=f"{len(users)}, administered by {admins[0]}")
    ]


async def _sandbox(_: Context) -> list[Check]:
    layers = await asyncio.to_thread(check_layers)
    missing = [layer for layer in layers if not layer.there]
    if not missing:
        return [Check(name="Sandbox", state=State.OK, detail="Every layer is there")]
    return [
        Check(
            name="Sandbox",
            state=State.OPTIONAL,
            detail="Missing " + "; ".join(f"{layer.name}: {layer.detail}" for layer in missing),
            next_step=" ".join(dict.fromkeys(layer.next_step for layer in missing)),
        )
    ]


async def _disk(ctx: Context) -> list[Check]:
    home = ctx.parts.settings.home
    usage = await asyncio.to_thread(shutil.disk_usage, home)
    detail = f"{usage.free / 1024**3:.0f} GB free for {home}"
    if usage.free >= _LOW_DISK:
        return [Check(name="Disk", state=State.OK, detail=detail)]
    return [
        Check(
            name="Disk",
            state=State.MISSING,
            detail=detail,
            next_step="Free some space, or move the data folder with JARVIS_HOME.",
        )
    ]
