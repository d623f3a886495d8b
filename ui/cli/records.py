"""The operator's commands over rows: approvals, users, keys, the audit log."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.text import Text

from nebula.markup.text import json_line, visible
from nebula.tool.render import table_of
from nebula.tool.result import Table
from ui.cli.approve import Answer, draw_card
from ui.cli.operator import operator, people, read_settings
from ui.cli.run_tool import run_tool
from ui.cli.show import console, show_blocks

if TYPE_CHECKING:
    from nebula.notice import Notice


def write_json(value: Any) -> None:
    """Write models or plain values as one line of JSON on stdout."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    elif isinstance(value, Sequence) and value and isinstance(value[0], BaseModel):
        value = [item.model_dump(mode="json") for item in value]
    sys.stdout.write(json_line(value) + "\n")


def _say(text: str) -> None:
    console().print(text)


async def list_approvals(*, state: str, as_json: bool) -> None:
    """Show the approvals the operator may decide."""
    from api.notices import notices_of
    from nebula.events.bus import Events
    from nebula.tool.approvals import Approvals

    async with people() as (auth, database), Events(database) as events:
        approvals = Approvals(database, events, read_settings(), auth)
        wanted = None if state == "all" else state
        who = await operator(auth)
        found = await approvals.list(who, state=wanted)
        still = await notices_of(database, who) if state == "pending" else []
    if as_json:
        write_json(found)
        return
    tell_notices(still)
    if not found and still:
        return
    if not found:
        _say("Nothing waits." if state == "pending" else "None.")
    else:
        names = ["id", "tool", "effect", "state", "asked by", "until", "why"]
        rows = [
            [
                a.id,
                a.tool,
                a.effect,
                a.state,
                a.principal_name,
                f"{a.expires_at:%H:%M:%S}",
                a.reason,
            ]
            for a in found
        ]
        show_blocks([Table(columns=names, rows=rows)], console())


def tell_notices(notices: "Sequence[Notice]") -> None:
    """Say what of the person's own stands still, and what they can do about it."""
    for each in notices:
        said = visible(f"{each.name} stands still: {each.said} {each.step}")
        console().print(Text(said, "yellow"))


async def show_approval(approval_id: str, *, as_json: bool) -> None:
    """Show one approval with every argument."""
    from nebula.events.bus import Events
    from nebula.tool.approvals import Approvals

    async with people() as (auth, database), Events(database) as events:
        approvals = Approvals(database, events, read_settings(), auth)
        card = await approvals.get(approval_id, await operator(auth))
    if as_json:
        write_json(card)
    else:
        draw_card(card.model_dump(mode="json"), console())
        _say(f"  {card.state}" + (f" by {card.decided_by}" if card.decided_by else ""))


async def decide_approval(approval_id: str, answer: Answer, comment: str, *, as_json: bool) -> None:
    """Answer an approval as the operator at this terminal."""
    from nebula.auth.principal import Surface
    from nebula.events.bus import Events
    from nebula.tool.approvals import Approvals

    async with people() as (auth, database), Events(database) as events:
        approvals = Approvals(database, events, read_settings(), auth)
        decided = await approvals.decide(
            approval_id,
            decision=answer,
            by=await operator(auth),
            surface=Surface.TERMINAL,
            comment=comment,
        )
    if as_json:
        write_json(decided)
    else:
        _say(f"{decided.tool}: {decided.state.replace('_', ' ')}.")


async def create_user(name: str, role: str, *, as_json: bool) -> None:
    """Create a user through the tool, which asks, and print their sign-in link."""
    await run_tool("users_create", [f"name={name}", f"role={role}"], as_json=as_json)
    if not as_json:
        await user_link(name, as_json=False)


async def user_link(name: str, *, as_json: bool) -> None:
    """Print a fresh one-time sign-in link."""
    async with people() as (auth, _):
        link = await auth.sign_in_link(name)
    write_json({"user": name, "link": link}) if as_json else _say(link)


async def create_key(
    name: str, role: str, user: str, days: float | None, scopes: list[str], *, as_json: bool
) -> None:
    """Make an API key and show it this once."""
    from nebula.auth.principal import Role

    async with people() as (auth, _):
        owner = (await auth.people.find(user)).id if user else (await operator(auth)).id
        key = await auth.keys.create(owner, name, role=Role(role), scopes=scopes or None, days=days)
    if as_json:
        write_json(key)
    else:
        _say(key.key)
        console(error=True).print("Keep it now: it is not shown again.", style="dim")


async def list_keys(*, as_json: bool) -> None:
    """Show the live keys, without the keys themselves."""
    async with people() as (auth, _):
        keys = await auth.keys.list()
    if as_json:
        write_json(list(keys))
    elif keys:
        show_blocks([table_of(keys)], console())
    else:
        _say("There are no keys.")


async def revoke_key(key_id: str, *, as_json: bool) -> None:
    """End a key."""
    async with people() as (auth, _):
        await auth.keys.revoke(key_id)
    write_json({"revoked": key_id}) if as_json else _say(
        "Revoked; it stops working within a second."
    )


async def list_tools(search: str, *, as_json: bool) -> None:
    """Show the tools, all or those that fit a search."""
    from nebula.tool.registry import Registry

    registry = Registry.discover("tools", "graphs")
    words = search.lower().split()
    found = [
        tool
        for tool in registry
        if all(w in f"{tool.name} {tool.description} {tool.examples}".lower() for w in words)
    ]
    if as_json:
        write_json([_described(tool) for tool in found])
    elif not found:
        _say(f"No tool fits {search!r}.")
    else:
        rows = [[tool.name, tool.effect.value, tool.summary] for tool in found]
        show_blocks([Table(columns=["tool", "effect", "what it does"], rows=rows)], console())


def _described(tool: Any) -> dict[str, Any]:
    return {
        "name": tool.name,
        "effect": tool.effect.value,
        "permission": tool.permission,
        "description": tool.description,
        "rest": tool.rest,
        "arguments": tool.schema(),
    }
