"""Hides the secrets this process knows, in texts and documents on their way out.

There is one set for the process, because its logs are one: every App that is open adds what it
has opened, and takes it back when it closes.
"""

import dataclasses
import threading
from collections.abc import Hashable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ahocorasick_rs import AhoCorasick
from pydantic import BaseModel, SecretBytes, SecretStr

from nebula.secrets.forms import SHORTEST, forms

V = TypeVar("V")
M = TypeVar("M", bound=BaseModel)

HIDDEN: Final = "[hidden]"


class Redactor:
    """Values that must not be seen, and the search for all of their forms at once."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._by_source: dict[Hashable, frozenset[str]] = {}
        self._lock = threading.Lock()
        self._search: AhoCorasick | None = None
        self._stale = False

    def know(self, source: Hashable, values: Iterable[str]) -> None:
        """Replace what a source knows; values shorter than eight characters are left out."""
        kept = frozenset(value for value in values if len(value) >= SHORTEST)
        with self._lock:
            if kept != self._by_source.get(source, frozenset()):
                self._by_source[source] = kept
                self._stale = True

    def know_also(self, source: Hashable, *values: str) -> None:
        """Add to what a source knows."""
        self.know(source, self._by_source.get(source, frozenset()).union(values))

    def forget(self, source: Hashable) -> None:
        """Take back everything a source knows."""
        with self._lock:
            if self._by_source.pop(source, None):
                self._stale = True

    def found(self, text: str) -> bool:
        """Say whether a text holds a secret in any form."""
        return bool(self._spans(text))

    def text(self, text: str) -> str:
        """Return a text with every secret in it hidden."""
        spans = self._spans(text)
        if not spans:
            return text
        pieces: list[str] = []
        end = 0
        for first, last in spans:
            if first > end or not pieces:
                pieces += [text[end:first], HIDDEN]
            end = max(end, last)
        return "".join([*pieces, text[end:]])

    def value(self, value: V) -> V:
        """Return a document, model or plain value with every secret in it hidden.

        What holds none is returned as it is, the same object. Enumerations, masked secrets and
        dates stay; a number that spells a secret becomes text.
        """
        return value if self._searching() is None else _cleaned(self, value)

    def model(self, model: M) -> M:
        """Return a model like `value` does, looking at its JSON first: most hold no secret."""
        if self._searching() is None:
            return model
        try:
            if not self.found(model.model_dump_json()):
                return model
        except ValueError:
            pass  # bytes or characters that JSON cannot hold
        return self.value(model)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        search = self._searching()
        if search is None:
            return []
        try:
            found = search.find_matches_as_indexes(text, overlapping=True)
        except UnicodeEncodeError:
            # A lone surrogate; what replaces it is one character too.
            plain = text.encode("utf-8", "replace").decode()
            found = search.find_matches_as_indexes(plain, overlapping=True)
        return sorted((first, last) for _, first, last in found)

    def _searching(self) -> AhoCorasick | None:
        if self._stale:
            with self._lock:
                known = frozenset().union(*self._by_source.values())
                patterns = frozenset().union(*map(forms, known))
                self._search = AhoCorasick(sorted(patterns)) if patterns else None
                self._stale = False
        return self._search


def _cleaned(redactor: Redactor, value: Any) -> Any:
    if value is None or isinstance(value, bool | Enum | SecretStr | SecretBytes):
        return value
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, bytes):
        return _cleaned_bytes(redactor, value)
    if isinstance(value, BaseModel):
        return _cleaned_model(redactor, value)
    if isinstance(value, Mapping):
        pairs = [(_cleaned(redactor, k), _cleaned(redactor, v)) for k, v in value.items()]
        same = all(k is a and v is b for (k, v), (a, b) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if isinstance(value, list | tuple | set | frozenset):
        items = [_cleaned(redactor, item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else _like(value, items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        changed = _changes(redactor, fields)
        return dataclasses.replace(value, **changed) if changed else value
    return HIDDEN if redactor.found(str(value)) else value


def _cleaned_bytes(redactor: Redactor, value: bytes) -> bytes:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        # No text; each byte is a character, and one form of every secret is written that way.
        return redactor.text(value.decode("latin-1")).encode("latin-1")
    cleaned = redactor.text(text)
    return value if cleaned is text else cleaned.encode()


def _cleaned_model(redactor: Redactor, model: BaseModel) -> BaseModel:
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    changed = _changes(redactor, {**fields, **(model.model_extra or {})})
    return model.model_copy(update=changed) if changed else model


def _changes(redactor: Redactor, fields: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = ((name, value, _cleaned(redactor, value)) for name, value in fields.items())
    return {name: new for name, value, new in cleaned if new is not value}


def _like(value: Any, items: list[Any]) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    return items if isinstance(value, list) else type(value)(items)


def secrets_in(settings: BaseModel) -> list[str]:
    """Return the secrets of settings: masked fields, and passwords inside addresses."""
    found: list[str] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            found += filter(None, [value.get_secret_value()])
        elif isinstance(value, str) and "://" in value:
            found += _password_of(value)
    return [value for value in found if value]


def _password_of(address: str) -> list[str]:
    try:
        split = urlsplit(address)
        password = split.password
    except ValueError:
        return []
    # A password that is the name of the account or the database hides nothing.
    known = {split.username, split.path.strip("/")}
    return [password] if password and password not in known else []


LIVE: Final = Redactor()
"""What this process knows."""


def hide(text: str) -> str:
    """Return a text with every secret that this process knows hidden."""
    return LIVE.text(text)
