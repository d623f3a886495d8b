"""Rights that something which runs by itself keeps from its making: its owner's then, cut down."""

from pydantic import BaseModel

from nebula.auth.grant import Grant
from nebula.auth.principal import Principal, Role


class Frozen(BaseModel, frozen=True):
    """The rights of an agent or a workflow, as its row keeps them."""

    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    reports: bool = False
    """Whether its owner could send messages; reports are sent with that right alone."""
    key_id: str | None = None

    @property
    def grant(self) -> Grant:
        """Return what it may do at most."""
        return Grant(frozenset(self.allowed), frozenset(self.denied))

    def narrowed(self, grant: Grant) -> "Frozen":
        """Return it with at most what a grant allows."""
        both = self.grant.narrowed(grant)
        lists = {"allowed": tuple(sorted(both.allowed)), "denied": tuple(sorted(both.denied))}
        return self.model_copy(update=lists)

    def principal(self, owner_id: str, owner_name: str, grant: Grant | None = None) -> Principal:
        """Return its owner with these limits (or a grant in their place), and no right yet."""
        return Principal(
            id=owner_id,
            name=owner_name,
            role=Role.CLIENT,
            permissions=frozenset(),
            key_id=self.key_id,
            frozen=self.grant if grant is None else grant,
        )


def frozen_of(owner: Principal, wanted: Grant) -> Frozen:
    """Return the owner's present rights cut down to a grant."""
    both = Grant(owner.permissions, owner.denied).narrowed(wanted)
    return Frozen(
        allowed=tuple(sorted(both.allowed)),
        denied=tuple(sorted(both.denied)),
        reports=owner.can("notify:write"),
        key_id=owner.key_id,
    )
