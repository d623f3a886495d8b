"""What the users tools return."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from nebula.auth.principal import Role
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table


class UserEntry(BaseModel):
    """One user."""

    id: str
    name: str
    role: Role
    enabled: bool
    has_password: bool
    created_at: datetime
    last_sign_in_at: datetime | None = None


class RoleFeatures(BaseModel):
    """The features a role sees; None means every feature its permissions reach."""

    role: Role
    features: list[str] | None = None


class UserList(Result):
    """All users, and what each role sees."""

    users: list[UserEntry]
    roles: list[RoleFeatures] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show a table of users, and one of roles that see less than all."""
        rows = [[u.name, u.role, _state(u), _when(u.last_sign_in_at)] for u in self.users]
        blocks: list[Block] = [
            Table(title="Users", columns=["Name", "Role", "State", "Last sign-in"], rows=rows)
        ]
        limited = [[r.role, ", ".join(r.features)] for r in self.roles if r.features is not None]
        if limited:
            blocks.append(
                Table(title="Roles that see less", columns=["Role", "Features"], rows=limited)
            )
        return blocks


class UserChange(Result):
    """What became of a user."""

    user: UserEntry
    done: str
    next_step: str = ""

    def render(self) -> Sequence[Block]:
        """Say what was done and what comes next."""
        text = f"**{escape(self.user.name)}** {self.done}."
        return [Markdown(text=f"{text} {self.next_step}".strip())]


class RoleChange(Result):
    """What a role sees now."""

    role: Role
    features: list[str] | None

    def render(self) -> Sequence[Block]:
        """Say what the role sees now."""
        sees = "every feature" if self.features is None else ", ".join(self.features) or "nothing"
        return [Markdown(text=f"The role **{self.role}** now sees: {escape(sees)}.")]


def _state(user: UserEntry) -> str:
    if not user.enabled:
        return "disabled"
    return "active" if user.last_sign_in_at else "invited"


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M UTC")
