"""The rules of standing grants: who may give one, and for what."""

from datetime import timedelta

from nebula.auth.principal import Principal, Surface
from nebula.errors import Conflict, NotFound, PermissionDenied
from nebula.policy.trust import trustable
from nebula.tool.context import Context
from nebula.tool.grants import StandingGrant

_AT = frozenset({Surface.CHAT, Surface.REST, Surface.TERMINAL})


async def give(ctx: Context, offer: str, days: int) -> StandingGrant:
    """Turn an offer into a grant.

    Raises:
        PermissionDenied: when it is no administrator of the tool, in the web or at the terminal.
        Conflict: when the tool may not run on a grant any more.
    """
    grants = ctx.parts.judge.grants
    found = await grants.get(offer)
    tool = ctx.parts.registry.get(found.tool)
    _require_giver(ctx, f"{tool.feature}:admin")
    if not trustable(tool, ctx.parts.judge.level(tool)):
        raise Conflict(f"{tool.name} may not run without a person asked each time.")
    return await grants.accept(offer, ctx.principal, timedelta(days=days))


async def end(ctx: Context, grant: str, why: str) -> StandingGrant:
    """Decline an offer, or withdraw a grant.

    Raises:
        NotFound: when it is somebody else's, and the asker no administrator.
    """
    grants = ctx.parts.judge.grants
    found = await grants.get(grant)
    if not sees(ctx.principal, found):
        raise NotFound(f"There is no standing grant {grant!r}")
    if found.state == "proposed":
        return await grants.decline(grant, ctx.principal)
    return await grants.revoke(grant, ctx.principal, why)


def sees(principal: Principal, grant: StandingGrant) -> bool:
    """Say whether somebody may see a grant and end it: whose it is, and administrators."""
    return principal.can("policy:admin") or grant.principal_id == principal.id


def _require_giver(ctx: Context, permission: str) -> None:
    principal = ctx.principal
    person = principal.key_id is None and principal.frozen is None and not ctx.caller.by_model
    if not person or ctx.caller.surface not in _AT:
        raise PermissionDenied(
            "Only a person gives a standing grant, in the web chat or at the terminal."
        )
    if not principal.can(permission):
        raise PermissionDenied(f"Giving this grant needs the permission {permission}.")
