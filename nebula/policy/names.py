"""Names in registers, by kind: what each means, and which of them the operator wrote. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nebula.policy.selectors import Kind

_APART = re.compile(r"[\s_\-./]+")


@dataclass(frozen=True)
class Name:
    """A name in a register; `own` when the operator wrote it, and no machine told it of itself."""

    kind: Kind
    spoken: str
    means: str
    """What it stands for; two names that mean the same are the same value."""
    own: bool = True


@dataclass(frozen=True)
class Names:
    """Every name that is known at a moment."""

    meanings: Mapping[Kind, Mapping[tuple[str, ...], str]] = field(default_factory=dict)
    own: frozenset[tuple[Kind, str]] = frozenset()

    @classmethod
    def of(cls, names: Iterable[Name]) -> "Names":
        """Index names; one that stands for several things means all of them together."""
        found: dict[Kind, dict[tuple[str, ...], set[str]]] = {}
        own: set[tuple[Kind, str]] = set()
        for name in names:
            found.setdefault(name.kind, {}).setdefault(apart(name.spoken), set()).add(name.means)
            if name.own:
                own.add((name.kind, name.means))
        meanings = {
            kind: {form: " | ".join(sorted(means)) for form, means in forms.items()}
            for kind, forms in found.items()
        }
        together = {
            (kind, " | ".join(sorted(means)))
            for kind, forms in found.items()
            for means in forms.values()
            if all((kind, each) in own for each in means)
        }
        return cls(meanings, frozenset(together))

    def meaning(self, kind: Kind, text: str) -> str | None:
        """Return what a name stands for, forgiving case, spaces and dashes; None when unknown."""
        return self.meanings.get(kind, {}).get(apart(text))

    def forms(self, kind: Kind, means: str) -> Iterator[tuple[str, ...]]:
        """Yield every way to say what a name stands for."""
        known = self.meanings.get(kind, {})
        return (form for form, meaning in known.items() if meaning == means)


def apart(text: str) -> tuple[str, ...]:
    """Return a name in the form in which names are compared: its parts, in folded case."""
    return tuple(part for part in _APART.split(text.casefold()) if part)
