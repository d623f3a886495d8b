"""References to secrets in arguments: who may use them where, and what they become.

`secret://name` and `secret://environment/name` stand for the present value; with `!version` at the
end only for that one. Records, approvals and jobs hold the reference. The value exists from just
before the tool's function runs, and only in the arguments that this function gets.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, SecretStr

from nebula.auth.principal import Caller, Surface
from nebula.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.secrets.redact import LIVE
from nebula.secrets.secret import DEFAULT, Secret, Use, reference
from nebula.secrets.spots import Spot, changed, takers

if TYPE_CHECKING:
    from nebula.secrets.store import Secrets
    from nebula.tool.definition import AnyTool

SEES: Final = "secrets:read"
_MASK: Final = "**********"
_REFERENCE: Final = re.compile(
    r"secret://(?:(?P<environment>[A-Za-z][A-Za-z0-9-]*)/)?"
    r"(?P<name>[A-Za-z][A-Za-z0-9_-]*)(?:!(?P<version>\d+))?"
)

Versions = Mapping[str, int]
"""The version that each reference of a call stood for when it was looked at."""


class References:
    """Follows the references in calls."""

    def __init__(self, secrets: "Secrets") -> None:
        """Take where the secrets are."""
        self._secrets = secrets

    async def check(self, tool: "AnyTool", values: BaseModel, caller: Caller) -> Versions:
        """Return the version behind each reference of a call; an approval covers these.

        Raises:
            InvalidInput: when a reference stands where none may, or a secret's value in plain.
            PermissionDenied: when this caller may not give one of them to this tool.
            NotFound: when there is none of that name, and the caller may know it.
            Conflict: when a reference names a version that is not the present one.
        """
        names = sorted(_checked(tool, values))
        return {name: (await self._usable(name, tool, caller)).version for name in names}

    async def follow(
        self, tool: "AnyTool", values: BaseModel, caller: Caller, call_id: str
    ) -> BaseModel:
        """Return the arguments with every reference replaced by the value, and record the use.

        Raises:
            NebulaError: as `check` does; what was allowed may have ended since.
        """
        names = references_in(values)
        if not names:
            return values
        usable = {name: await self._usable(name, tool, caller) for name in names}
        opened = {name: await self._secrets.open(s.version) for name, s in usable.items()}
        await self._secrets.used([_use(s, tool, caller, call_id) for s in usable.values()])

        def put_in(text: str, spot: Spot) -> str:
            return _REFERENCE.sub(lambda m: opened[_written(m)], text) if spot.takes else text

        return changed(values, put_in)

    async def _usable(self, name: str, tool: "AnyTool", caller: Caller) -> Secret:
        match = _REFERENCE.fullmatch(name)
        assert match is not None
        try:
            secret = await self._secrets.get(
                match["name"], environment=match["environment"] or DEFAULT
            )
        except NotFound:
            if caller.principal.can(SEES):
                raise
            raise _refused(name, tool) from None
        if not may_use(secret, tool, caller):
            raise _refused(name, tool)
        if match["version"] and int(match["version"]) != secret.version:
            raise Conflict(
                f"{secret.reference} was changed since this was asked for.", hint="Ask again."
            )
        return secret


def may_use(secret: Secret, tool: "AnyTool", caller: Caller) -> bool:
    """Say whether a caller may give a secret to a tool.

    To a feature that it is shared with, everyone may who may use the tool. To any other tool only
    a person who may see secrets, by their own hand: a model could be talked into giving it away.
    """
    if tool.feature in secret.features:
        return True
    by_hand = not caller.by_model and caller.surface is not Surface.SCHEDULE
    return by_hand and caller.principal.can(SEES)


def references_in(values: BaseModel) -> frozenset[str]:
    """Return the references that stand where one may, as they are written canonically."""
    found: set[str] = set()

    def note(text: str, spot: Spot) -> str:
        if spot.takes:
            found.update(_names(text))
        return text

    changed(values, note)
    return frozenset(found)


def pinned(values: BaseModel, versions: Versions) -> BaseModel:
    """Return the arguments with each reference naming its version, for what runs later."""

    def pin(text: str, spot: Spot) -> str:
        if not spot.takes:
            return text
        return _REFERENCE.sub(lambda m: _with_version(_written(m), versions), text)

    return changed(values, pin) if versions else values


def unpinned(document: Any) -> Any:
    """Return the arguments of a call that is asked for anew: references mean the present value."""
    if isinstance(document, str):
        return _REFERENCE.sub(lambda m: _written(m).partition("!")[0], document)
    if isinstance(document, dict):
        return {key: unpinned(value) for key, value in document.items()}
    return [unpinned(value) for value in document] if isinstance(document, list) else document


def shown(values: BaseModel) -> dict[str, Any]:
    """Return the arguments as they may be stored and shown: references, and no secret."""
    document = values.model_dump(mode="json")
    for name in type(values).model_fields:
        value = getattr(values, name)
        if isinstance(value, SecretStr):
            plain = value.get_secret_value()
            names = sorted(_names(plain))
            if names:
                alone = _REFERENCE.fullmatch(plain)
                document[name] = names[0] if alone else f"{_MASK} with {', '.join(names)}"
    return LIVE.value(document)


def _checked(tool: "AnyTool", values: BaseModel) -> set[str]:
    names: set[str] = set()
    misplaced: list[str] = []
    plain: list[str] = []

    def look(text: str, spot: Spot) -> str:
        written = set() if spot.passes else set(_names(text))
        names.update(written)
        if written and not spot.takes:
            misplaced.append(spot.path)
        if not spot.masked and LIVE.found(text):
            plain.append(spot.path)
        return text

    changed(values, look)
    may = ", ".join(takers(tool))
    where = f"It may stand in: {may}." if may else f"{tool.name} has no argument that may hold one."
    if misplaced:
        raise _wrong("A reference to a secret may not stand in", misplaced, where)
    if plain:
        hint = f"Write secret://NAME for it. {where}"
        raise _wrong("The value of a secret stands in plain in", plain, hint)
    return names


def _wrong(problem: str, paths: list[str], hint: str) -> InvalidInput:
    # A path may hold keys that the caller chose; those are texts too.
    fields = [{"field": LIVE.text(path), "problem": problem + " it"} for path in paths]
    named = ", ".join(field["field"] for field in fields)
    return InvalidInput(f"{problem} {named}.", hint=hint, fields=fields)


def _names(text: str) -> Iterator[str]:
    return (_written(match) for match in _REFERENCE.finditer(text))


def _written(match: re.Match[str]) -> str:
    name = reference((match["environment"] or DEFAULT).lower(), match["name"].lower())
    return f"{name}!{match['version']}" if match["version"] else name


def _with_version(name: str, versions: Versions) -> str:
    return name if "!" in name else f"{name}!{versions[name]}"


def _refused(name: str, tool: "AnyTool") -> PermissionDenied:
    return PermissionDenied(
        f"{name} is not shared with the tools of {tool.feature}.",
        hint=f"An administrator can share it: `jarvis secrets share NAME {tool.feature}`.",
    )


def _use(secret: Secret, tool: "AnyTool", caller: Caller, call_id: str) -> Use:
    return Use(
        name=secret.name,
        environment=secret.environment,
        version=secret.version,
        principal=caller.principal.name,
        surface=caller.surface.value,
        tool=tool.name,
        call_id=call_id[:200],
        job_id=caller.job_id,
        at=datetime.now(UTC),
    )
