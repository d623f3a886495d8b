"""What a person is shown before somebody's account changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from nebula.auth.people import User
from nebula.errors import NotFound
from nebula.tool.context import Context
from nebula.tool.result import Block, Table


async def create_preview(_ctx: Context, values: Any) -> Sequence[Block]:
    """Show the account that would be made."""
    return [_table("New account", [["name", values.name], ["role", values.role.value]])]


async def update_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show what would be different."""
    user = await ctx.parts.auth.people.find(values.user)
    rows = [["name", user.name, user.name]]
    if values.role is not None:
        rows.append(["role", user.role.value, values.role.value])
    if values.enabled is not None:
        rows.append(["may sign in", _yes(user.enabled), _yes(values.enabled)])
    return [Table(columns=["", "now", "then"], rows=rows)]


async def delete_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show the account that would be gone, and what goes with it."""
    auth = ctx.parts.auth
    user = await auth.people.find(values.user)
    seen = user.last_sign_in_at
    rows = [
        ["name", user.name],
        ["role", user.role.value],
        ["signed in last", f"{seen:%Y-%m-%d %H:%M} UTC" if seen else "never"],
        ["devices signed out", str(len(await auth.logins.list(user.id)))],
        ["API keys that end", str(len(await auth.keys.list(user.id)))],
    ]
    return [_table("Would be deleted", rows)]


async def modules_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show what the role sees now and would see then."""
    now = (await ctx.parts.auth.principals.features()).get(values.role)
    rows = [["now", _features(now)], ["then", _features(values.features)]]
    return [_table(f"What {values.role.value} sees", rows)]


async def user_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the account as it is now: one of the same name is another."""
    user = await ctx.parts.auth.people.find(values.user)
    return {f"user {user.name}": _version(user)}


async def name_versions(ctx: Context, values: Any) -> Mapping[str, str]:
    """Bind an approval to the name being free."""
    try:
        user = await ctx.parts.auth.people.find(values.name)
    except NotFound:
        return {f"user {values.name}": "not there"}
    return {f"user {values.name}": _version(user)}


def _version(user: User) -> str:
    return f"{user.id} {user.role.value} {'enabled' if user.enabled else 'locked'}"


def _features(names: Sequence[str] | None) -> str:
    return "everything its rights reach" if names is None else ", ".join(names) or "nothing"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(title: str, rows: list[list[str]]) -> Table:
    return Table(title=title, columns=["", ""], rows=rows)
