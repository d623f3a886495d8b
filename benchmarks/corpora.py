"""The attack corpora under `benchmarks/data`, as tests and benchmarks read them."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_DATA = Path(__file__).parent / "data"
CANARY = "evil.test"


@dataclass(frozen=True)
class Markup:
    """One way in which shown text tries to call the canary."""

    name: str
    text: str


@dataclass(frozen=True)
class Address:
    """One address that leads inside; what its names resolve to, and where it redirects."""

    name: str
    url: str
    resolves: dict[str, list[list[str]]] = field(default_factory=dict)
    """Answers by host, look-up after look-up; the last one repeats."""
    redirects: list[str] = field(default_factory=list)
    status: int = 302


@cache
def markup() -> tuple[Markup, ...]:
    """Return the markup corpus."""
    return tuple(Markup(**entry) for entry in _read("markup.yml"))


@cache
def terminal() -> tuple[Markup, ...]:
    """Return texts that command a terminal or hide something."""
    return tuple(Markup(**entry) for entry in _read("terminal.yml"))


@cache
def mentions() -> tuple[Markup, ...]:
    """Return texts that ping people or mask links."""
    return tuple(Markup(**entry) for entry in _read("mentions.yml"))


@cache
def ssrf() -> tuple[Address, ...]:
    """Return the corpus of addresses that must not be fetched."""
    return tuple(
        Address(name=entry, url=entry) if isinstance(entry, str) else Address(**entry)
        for entry in _read("ssrf.yml")
    )


def _read(name: str) -> list[Any]:
    found = yaml.safe_load((_DATA / name).read_text(encoding="utf-8"))
    assert isinstance(found, list)
    return found
