"""Who asks, and from where."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

from nebula.auth.grant import Grant
from nebula.policy.labels import Label
from nebula.policy.plan import Plan


class Role(StrEnum):
    """What kind of person (or key) this is."""

    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"
    CLIENT = "client"


class Surface(StrEnum):
    """The door a call came through."""

    CHAT = "chat"
    REST = "rest"
    MCP = "mcp"
    TERMINAL = "terminal"
    DISCORD = "discord"
    SCHEDULE = "schedule"
    SYSTEM = "system"


@dataclass(frozen=True)
class Principal:
    """A user or API key with the permissions its rows grant at this moment.

    `permissions` holds patterns `feature:right`, where either part may be `*`; what `denied`
    matches is refused all the same. `login_id` is the sign-in session it came with, if any.
    """

    id: str
    name: str
    role: Role
    permissions: frozenset[str]
    key_id: str | None = None
    denied: frozenset[str] = frozenset()
    login_id: str | None = None
    frozen: Grant | None = None
    """What it never exceeds, whatever its rows grant: of a schedule, an agent, a session."""

    def can(self, permission: str) -> bool:
        """Say whether a permission `feature:right` is granted."""
        return Grant(self.permissions, self.denied).can(permission)

    def narrowed(self, grant: Grant) -> "Principal":
        """Return it with at most what a grant allows, now and whenever its rows are read again."""
        both = Grant(self.permissions, self.denied).narrowed(grant)
        frozen = grant if self.frozen is None else self.frozen.narrowed(grant)
        return replace(self, permissions=both.allowed, denied=both.denied, frozen=frozen)


@runtime_checkable
class ProgressSink(Protocol):
    """Receives progress of a running call; `fraction` is 0..1, or None when unknown."""

    async def __call__(self, fraction: float | None, message: str) -> None:
        """Take one report."""
        ...


@dataclass(frozen=True)
class Caller:
    """One request's identity: who, through which door, in which session, with which labels."""

    principal: Principal
    surface: Surface
    session_id: str | None = None
    agent: str | None = None
    labels: frozenset[Label] = frozenset({Label.USER})
    by_model: bool = False
    """True when a model chose the call; False when a person typed or clicked it."""
    progress: ProgressSink | None = field(default=None, compare=False)
    job_id: str | None = None
    """The job whose run asks, if any; only the executor sets it."""
    words: tuple[str, ...] = field(default=(), compare=False)
    """What the person typed in this conversation; only a thread's state fills it."""
    plan: Plan = field(default_factory=Plan, compare=False)
    """What this request fixed before anything from outside was read."""
