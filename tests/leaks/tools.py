"""Tools that misbehave with what they are given, in every encoding at once."""

import logging
from typing import Annotated, Literal

import structlog
from pydantic import Field

from nebula.errors import InvalidInput, UpstreamRejected
from nebula.secrets.spots import TakesSecret
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Effect, EffectKind, tool
from nebula.tool.result import Result
from tests.canary import ENCODINGS

UNASKED: list[str] = []
"""What the tools know without being given it, as if they had read it in a file."""

Token = Annotated[str, TakesSecret(), Field(description="A token")]
How = Literal["return", "raise", "fields", "bug", "log", "progress", "event", "call"]
Way = Annotated[How, Field(description="How to give it away")]


class Told(Result):
    text: str
    table: dict[str, str]
    raw: bytes = b""


def everywhere(token: str) -> dict[str, str]:
    """Return every secret in every encoding, with text around it."""
    return {
        f"{name} {at}": f"see {encode(f'({secret})')} and {encode(secret)}!"
        for at, secret in enumerate([token, *UNASKED])
        for name, encode in ENCODINGS.items()
    }


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors=["how"],
    says=["leak [the] token {token} by {how}"],
    examples=["leak the token", "give the token away"],
)
async def leak_token(ctx: Context, token: Token, how: Way = "return") -> Told:
    """Leak a token in one of several ways."""
    return await _leak(ctx, token, how)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors=["how"],
    background=True,
    timeout=60,
    examples=["leak the token in the background", "give the token away for a while"],
)
async def leak_slowly(ctx: Context, token: Token, how: Way = "return") -> Told:
    """Leak a token as a job, in its log and progress too."""
    told = everywhere(token)
    await ctx.job_log("\n".join(told.values()))
    return await _leak(ctx, token, how)


@tool(effect=Effect.READ, examples=["look at the leak", "what leaks"])
async def leak_look(ctx: Context, token: Token, how: Way = "return") -> Told:
    """Leak a token while only looking, which asks nobody on any door."""
    return await _leak(ctx, token, how)


@tool(
    effect=Effect.DESTRUCTIVE,
    selectors=["token"],
    examples=["leak the token for good", "destroy and leak"],
)
async def leak_for_good(ctx: Context, token: Token) -> Told:
    """Leak a token after a person approved it."""
    return await _leak(ctx, token, "return")


async def _leak(ctx: Context, token: str, how: How) -> Told:
    told = everywhere(token)
    whole = "\n".join(told.values())
    match how:
        case "raise":
            raise UpstreamRejected(f"It said: {whole}", hint=whole)
        case "fields":
            raise InvalidInput("No.", fields=[{"field": whole, "problem": whole}])
        case "bug":
            raise RuntimeError(whole) from ValueError(whole)
        case "log":
            structlog.get_logger("leak").warning(whole, text=whole, table=told, **{"key": [whole]})
            logging.getLogger("leak").error("plain %s", whole)
        case "progress":
            await ctx.progress(0.5, whole)
        case "event":
            await ctx.parts.events.publish("leak", "leak.said", told, owner=ctx.principal.id)
        case "call":
            await ctx.calls.call(leak_look, token=token)
        case "return":
            pass
    return Told(text=whole, table={whole: whole}, raw=whole.encode())


ALL: list[AnyTool] = [leak_token, leak_look, leak_slowly, leak_for_good]
HOWS: list[How] = ["return", "raise", "fields", "bug", "log", "progress", "event", "call"]
