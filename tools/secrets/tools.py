"""Manage stored secrets. Values go in by a person's hand, and none comes out."""

import secrets as randomness
from typing import Annotated

from pydantic import Field, SecretStr

from nebula.auth.principal import Surface
from nebula.errors import InvalidInput
from nebula.secrets.secret import DEFAULT, ENVIRONMENT_PATTERN, LONGEST, NAME_PATTERN
from nebula.tool.context import Context
from nebula.tool.definition import Audience, Effect, EffectKind, tool
from tools.secrets.files import PATTERN
from tools.secrets.schemas import (
    Comparison,
    ImportReport,
    Rotation,
    SecretChange,
    SecretList,
    UseList,
)
from tools.secrets.service import compare, import_file, summed

Name = Annotated[
    str, Field(pattern=NAME_PATTERN, description="The secret's name; case does not matter")
]
Environment = Annotated[
    str, Field(pattern=ENVIRONMENT_PATTERN, description="Such as default, staging or production")
]
AnyEnvironment = Annotated[
    str | None, Field(pattern=ENVIRONMENT_PATTERN, description="Only this one; else all of them")
]
EnvFile = Annotated[
    str, Field(pattern=PATTERN, max_length=300, description="Such as .env or web/.env.production")
]
Side = Annotated[
    str,
    Field(
        pattern=rf"{ENVIRONMENT_PATTERN}|{PATTERN}",
        max_length=300,
        description="An environment, or a file such as .env",
    ),
]
Features = Annotated[
    list[str],
    Field(
        max_length=40,
        description="Features whose tools may be given it by models, schedules and people who "
        "may not see secrets; administrators may give it to any tool by hand",
    ),
]


@tool(
    effect=Effect.READ,
    rest="GET /secrets",
    says=["(list|show) [me] [(all|the|my)] [stored] secrets", "which secrets are (stored|there)"],
    examples=[
        "which API keys have you stored?",
        "what credentials do you know",
        "list the secrets of production",
    ],
)
async def secrets_list(ctx: Context, environment: AnyEnvironment = None) -> SecretList:
    """List the stored secrets by name, with version, age and who may use them; never a value."""
    return SecretList(secrets=await ctx.parts.secrets.all(environment))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    audience=Audience.HUMAN,
    selectors=["name", "environment", "features"],
    confirm=True,
    rest="PUT /secrets/{name}",
    says=["(store|save|add) [a|the] secret {name}", "set [the] secret {name}"],
    examples=["store my Stripe API key", "add a password for the backup server"],
)
async def secrets_set(
    ctx: Context,
    name: Name,
    value: Annotated[SecretStr, Field(max_length=LONGEST, description="The value")],
    environment: Environment = DEFAULT,
    *,
    note: Annotated[str | None, Field(max_length=200, description="What it is for")] = None,
    features: Annotated[list[str] | None, Field(max_length=40, description="Share it with")] = None,
) -> SecretChange:
    """Store a secret, or a new version of it; the version before can be restored."""
    _not_in_a_chat(ctx)
    shared = None if features is None else _known(ctx, features)
    secret = await ctx.parts.secrets.put(
        name,
        value.get_secret_value(),
        by=ctx.principal.name,
        environment=environment,
        note=note,
        features=shared,
    )
    return SecretChange(
        secret=secret,
        done=f"is stored as version {secret.version}",
        next_step=f"Write {secret.reference} where a tool takes a secret.",
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.OPAQUE,
    audience=Audience.HUMAN,
    selectors=["name", "environment"],
    confirm=True,
    rest="POST /secrets/{name}/rotate",
    says=["rotate [the] secret {name}", "(renew|replace) [the] secret {name}"],
    examples=["rotate the webhook token", "make a new database password"],
)
async def secrets_rotate(
    ctx: Context,
    name: Name,
    environment: Environment = DEFAULT,
    value: Annotated[
        SecretStr | None,
        Field(max_length=LONGEST, description="The new value; a random one when left out"),
    ] = None,
) -> Rotation:
    """Give a secret a new value, and tell who used the old one with which tool."""
    if value is not None:
        _not_in_a_chat(ctx)
    store = ctx.parts.secrets
    before = await store.get(name, environment=environment)
    new = randomness.token_urlsafe(32) if value is None else value.get_secret_value()
    secret = await store.put(name, new, by=ctx.principal.name, environment=environment)
    used = await summed(store, name, environment, before.version)
    return Rotation(secret=secret, generated=value is None, used_by=used)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.OPAQUE,
    selectors=["name", "environment"],
    confirm=True,
    rest="POST /secrets/{name}/restore",
    says=["restore [the] [previous version of] [the] secret {name}"],
    examples=["go back to the old API key", "undo the last change of a secret"],
)
async def secrets_restore(
    ctx: Context, name: Name, environment: Environment = DEFAULT
) -> SecretChange:
    """Go back to the version of a secret before the present one; once more comes back."""
    secret = await ctx.parts.secrets.restore(name, environment=environment)
    return SecretChange(secret=secret, done=f"is version {secret.version} again")


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    audience=Audience.HUMAN,
    selectors=["name", "environment", "features"],
    confirm=True,
    rest="PUT /secrets/{name}/features",
    says=["share [the] secret {name} with {features}"],
    examples=[
        "let deployments use the registry token",
        "who may use the Stripe key: only payments",
    ],
)
async def secrets_share(
    ctx: Context, name: Name, features: Features, environment: Environment = DEFAULT
) -> SecretChange:
    """Say which features' tools may be given a secret; an empty list leaves it to administrators."""
    shared = _known(ctx, features)
    secret = await ctx.parts.secrets.share(name, shared, environment=environment)
    said = ", ".join(secret.features) or "nobody but administrators, by hand"
    return SecretChange(secret=secret, done=f"may be used by {said}")


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.CHECK_THEN_ACT,
    selectors=["name", "environment"],
    rest="DELETE /secrets/{name}",
    says=["(delete|remove|forget) [the] secret {name}"],
    examples=["delete the old Stripe key", "forget my test password for good"],
)
async def secrets_delete(
    ctx: Context, name: Name, environment: Environment = DEFAULT
) -> SecretChange:
    """Delete a secret with its versions; the record of who used it stays."""
    secret = await ctx.parts.secrets.remove(name, environment=environment)
    return SecretChange(secret=secret, done="was deleted")


@tool(
    effect=Effect.READ,
    rest="GET /secrets/compare",
    says=[
        "compare [the] secrets of {first} (and|with|to) {second}",
        "(which|what) secrets differ between {first} and {second}",
    ],
    examples=[
        "which keys does production have that staging lacks?",
        "does my .env file match the stored secrets",
        "diff the secrets of staging and production",
    ],
)
async def secrets_compare(ctx: Context, first: Side, second: Side) -> Comparison:
    """Compare the secrets of two environments, or of one and a .env file: same, different, missing."""
    return await compare(ctx.parts.secrets, first, second)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors=["path", "environment", "names"],
    confirm=True,
    rest="POST /secrets/import",
    says=["import [the] secrets (from|of) {path} [into {environment}]"],
    examples=["read my .env file into the secrets", "import the keys of web/.env.production"],
)
async def secrets_import(
    ctx: Context,
    path: EnvFile = ".env",
    environment: Environment = DEFAULT,
    names: Annotated[
        list[Name], Field(max_length=500, description="Only these; else every one that can be kept")
    ] = [],  # noqa: B006 - read only
    replace: Annotated[
        bool, Field(description="Replace what is stored with another value")
    ] = False,
) -> ImportReport:
    """Store the values of a .env file as secrets; what is too short to be hidden is left out."""
    return await import_file(
        ctx.parts.secrets, path, environment, names, by=ctx.principal.name, replace=replace
    )


@tool(
    effect=Effect.READ,
    rest="GET /secrets/usage",
    says=["who used [the] secret {name}", "(show|list) [the] (use|usage) of [the] secret {name}"],
    examples=[
        "when was the Stripe key used last and by whom?",
        "which tools got a secret today",
    ],
)
async def secrets_usage(
    ctx: Context,
    name: Annotated[
        str | None, Field(pattern=NAME_PATTERN, description="Only this one; else all of them")
    ] = None,
    environment: AnyEnvironment = None,
    limit: Annotated[int, Field(ge=1, le=500, description="How many at most")] = 50,
) -> UseList:
    """Tell who used which secret with which tool, when, and in which version; newest first."""
    uses = await ctx.parts.secrets.uses(name, environment=environment, limit=limit)
    return UseList(uses=uses)


def _not_in_a_chat(ctx: Context) -> None:
    """Refuse a value that was typed where what is typed is kept."""
    if ctx.caller.surface in (Surface.CHAT, Surface.DISCORD):
        raise InvalidInput(
            "A value that is typed into a conversation stays in it: take it for known, and use another.",
            hint="Set it with `jarvis secrets set NAME` or `PUT /api/secrets/NAME`.",
        )


def _known(ctx: Context, features: list[str]) -> list[str]:
    known = {tool.feature for tool in ctx.parts.registry}
    if unknown := sorted(set(features) - known):
        raise InvalidInput(
            f"There is no feature {', '.join(unknown)}.",
            hint=f"Features: {', '.join(sorted(known))}.",
        )
    return sorted(set(features))
