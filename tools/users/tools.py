"""See and manage the people who may sign in.

Neither passwords nor sign-in links pass through here: both would end up in approvals and in
what a model reads. A person fetches a link from the terminal or the sign-in routes.
"""

from typing import Annotated

from pydantic import Field

from nebula.auth.people import User
from nebula.auth.principal import Role
from nebula.errors import InvalidInput
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.users.previews import (
    create_preview,
    delete_preview,
    modules_preview,
    name_versions,
    update_preview,
    user_versions,
)
from tools.users.schemas import RoleChange, RoleFeatures, UserChange, UserEntry, UserList

AnyUser = Annotated[str, Field(description="The user's name or id", min_length=1, max_length=64)]


@tool(
    effect=Effect.READ,
    rest="GET /users",
    says=["(list|show) [(all|the)] users", "who can sign in"],
    examples=["who has an account here?", "which users are there and what are their roles?"],
)
async def users_list(ctx: Context) -> UserList:
    """List the users with their roles, and which features each role sees."""
    seen = await ctx.parts.auth.principals.features()
    return UserList(
        users=[_entry(user) for user in await ctx.parts.auth.people.list()],
        roles=[RoleFeatures(role=role, features=features) for role, features in seen.items()],
    )


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.CHECK_THEN_ACT,
    permission="users:admin",
    selectors={"name": Kind.PERSON, "role": Kind.CHOICE},
    critical=True,
    preview=create_preview,
    versions=name_versions,
    rest="POST /users",
    says=["(create|add) [a] user {name} as {role}", "invite {name} as {role}"],
    examples=["add bob as a viewer", "make an account for my moderator"],
)
async def users_create(
    ctx: Context,
    name: Annotated[
        str, Field(description="The name to sign in with", min_length=1, max_length=64)
    ],
    role: Annotated[Role, Field(description="admin, developer, viewer or client")] = Role.VIEWER,
) -> UserChange:
    """Create a user, who then signs in with a one-time link."""
    user = await ctx.parts.auth.people.create(name, role)
    return UserChange(
        user=_entry(user),
        done=f"was created as {user.role}",
        next_step="Make their sign-in link with `jarvis user link NAME` or `POST /api/auth/links`.",
    )


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.IDEMPOTENT,
    permission="users:admin",
    selectors={"user": Kind.PERSON, "role": Kind.CHOICE, "enabled": Kind.CHOICE},
    critical=True,
    preview=update_preview,
    versions=user_versions,
    rest="PATCH /users/{user}",
    says=["make [user] {user} [a|an] {role}", "(change|set) [the] role of {user} to {role}"],
    examples=["lock bob's account", "give ada administrator rights"],
)
async def users_update(
    ctx: Context,
    user: AnyUser,
    role: Annotated[Role | None, Field(description="The new role; left out, it stays")] = None,
    enabled: Annotated[
        bool | None, Field(description="False locks the account and ends its sign-ins")
    ] = None,
) -> UserChange:
    """Change a user's role, or lock or unlock the account; it takes effect within a second."""
    if role is None and enabled is None:
        raise InvalidInput("Nothing to change: give a role, or enabled true or false")
    changed = await ctx.parts.auth.people.update(user, role=role, enabled=enabled)
    state = "may sign in" if changed.enabled else "is locked"
    return UserChange(user=_entry(changed), done=f"is now {changed.role} and {state}")


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.CHECK_THEN_ACT,
    permission="users:admin",
    selectors={"user": Kind.PERSON},
    critical=True,
    preview=delete_preview,
    versions=user_versions,
    rest="DELETE /users/{user}",
    says=["(delete|remove) [the] user {user}"],
    examples=["remove bob's account", "delete the user carol for good"],
)
async def users_delete(ctx: Context, user: AnyUser) -> UserChange:
    """Delete a user with their sign-ins and API keys; this cannot be undone."""
    return UserChange(user=_entry(await ctx.parts.auth.people.delete(user)), done="was deleted")


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.IDEMPOTENT,
    permission="users:admin",
    selectors={"role": Kind.CHOICE, "features": Kind.CHOICE},
    critical=True,
    preview=modules_preview,
    rest="PUT /users/modules/{role}",
    says=["(show|give) [the] role {role} (every feature|all features)"],
    examples=["let viewers see only gpu and knowledge", "hide the deploy feature from clients"],
)
async def users_set_modules(
    ctx: Context,
    role: Annotated[Role, Field(description="admin, developer, viewer or client")],
    features: Annotated[
        list[str] | None, Field(description="The features it sees; left out, all of them")
    ] = None,
) -> RoleChange:
    """Choose which features a role sees; its permissions still decide what it may do there."""
    known = {tool.feature for tool in ctx.parts.registry}
    unknown = sorted(set(features or ()) - known)
    if unknown:
        raise InvalidInput(
            f"There is no feature {', '.join(unknown)}",
            hint=f"Features are: {', '.join(sorted(known))}.",
        )
    await ctx.parts.auth.principals.set_features(role, features)
    return RoleChange(role=role, features=None if features is None else sorted(set(features)))


def _entry(user: User) -> UserEntry:
    return UserEntry.model_validate(user, from_attributes=True)
