"""Which files of an offer are meant, where each is stored, and what speaks against it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from nebula.errors import InvalidInput, NotFound, PermissionDenied
from nebula.services.folders import ModelKind
from nebula.services.sizes import spoken
from tools.models.naming import (
    BESIDE,
    PICKLED,
    WEIGHTS,
    ending_of,
    safe_folder,
    safe_name,
    safe_path,
)
from tools.models.offer import Offer, OfferedFile

_MOST_FILES = 100
_SMALL = 64 * 1024 * 1024


@dataclass(frozen=True)
class Chosen:
    """Files to fetch, each with its path below the folder of one kind."""

    kind: ModelKind
    files: tuple[tuple[OfferedFile, PurePosixPath], ...]
    notes: tuple[str, ...] = ()


def choose(offer: Offer, wanted: str | None, kind: ModelKind | None, name: str | None) -> Chosen:
    """Choose one file, or those that a pattern with `*` names (stored in a folder of their own).

    Raises:
        NotFound: when the model has no such file.
        InvalidInput: when it is not clear which file or which kind is meant.
        PermissionDenied: when the hub's scan found something in it.
    """
    several = kind is ModelKind.DIFFUSERS if wanted is None else "*" in wanted
    if several:
        return _snapshot(offer, wanted or "*", kind, name)
    file = _named(offer, wanted) if wanted else _only(offer)
    if file.note:
        raise PermissionDenied(f"{file.name} is not fetched: {file.note}")
    ending = ending_of(file.name)
    called = name or file.name
    stored = safe_name(called if ending_of(called) == ending else f"{called}{ending}")
    notes = [f"{stored} can run code when it is loaded; prefer a .safetensors file."] * (
        ending in PICKLED
    )
    return Chosen(_kind(offer, file, kind), ((file, PurePosixPath(stored)),), tuple(notes))


def _kind(offer: Offer, file: OfferedFile, kind: ModelKind | None) -> ModelKind:
    found = kind or file.kind or offer.kind
    if found is None and ending_of(file.name) == ".gguf":
        raise InvalidInput(
            f"{file.name} looks like a language model",
            hint=f"Have Ollama get it: download hf.co/{offer.id} – or give `kind`.",
        )
    if found is None:
        raise InvalidInput(
            f"It is not clear what {file.name} is for",
            hint=f"Give `kind`: {', '.join(ModelKind)}.",
        )
    return found


def _named(offer: Offer, wanted: str) -> OfferedFile:
    exact = [f for f in offer.files if wanted in {f.name, f.name.rpartition("/")[2]}]
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise InvalidInput(f"Several files are called {wanted}", hint=_choices(exact))
    raise NotFound(
        f"{offer.name} has no file {wanted[:120]!r}", hint=_choices(_weights(offer.files))
    )


def _only(offer: Offer) -> OfferedFile:
    """Return the one file that is meant when none is named: plain weights before pickled ones."""
    weights = _weights(offer.files)
    good = [f for f in weights if not f.note and ending_of(f.name) not in PICKLED]
    primary = [f for f in good if f.primary]
    for group in (primary, good):
        if len(group) == 1:
            return group[0]
    if not weights:
        raise NotFound(
            f"{offer.name} has no file that holds a model", hint="models_show lists its files."
        )
    if not good:
        reasons = next((f.note for f in weights if f.note), "")
        raise InvalidInput(
            f"{offer.name} has only files that may run code when they are loaded"
            if not reasons
            else f"{offer.name} is not fetched by itself: {reasons}",
            hint=f"Name one with `file` to take it all the same: {_choices(weights)}",
        )
    raise InvalidInput(f"{offer.name} has several files", hint=_choices(primary or good))


def _snapshot(offer: Offer, pattern: str, kind: ModelKind | None, name: str | None) -> Chosen:
    """Choose the files of a pattern, and the small ones beside weights that a whole needs."""
    fits = [f for f in offer.files if fnmatchcase(f.name, pattern)]
    weights = [f for f in _weights(fits) if not f.note]
    plain = [f for f in weights if ending_of(f.name) not in PICKLED]
    beside = [f for f in fits if ending_of(f.name) in BESIDE and (f.size or 0) <= _SMALL]
    files = [*(plain or weights), *beside]
    if not weights:
        raise NotFound(
            f"{offer.name} has no model file that fits {pattern[:80]!r}",
            hint=_choices(_weights(offer.files)),
        )
    if len(files) > _MOST_FILES:
        raise InvalidInput(
            f"{len(files)} files fit {pattern[:80]!r}", hint=f"At most {_MOST_FILES} at once."
        )
    top = PurePosixPath(safe_folder(name or offer.name))
    notes = () if plain else ("These files can run code when they are loaded.",)
    chosen = tuple((f, top / safe_path(f.name)) for f in files)
    stored = [path for _, path in chosen]
    if len(set(stored)) < len(stored):
        raise InvalidInput(f"Two files of {offer.name} would get the same name")
    return Chosen(kind or offer.kind or ModelKind.DIFFUSERS, chosen, notes)


def _weights(files: Sequence[OfferedFile]) -> list[OfferedFile]:
    return [f for f in files if ending_of(f.name) in WEIGHTS]


def _choices(files: Sequence[OfferedFile]) -> str:
    if not files:
        return "models_show lists its files."
    listed = ", ".join(f"{f.name} ({spoken(f.size)})" for f in files[:8])
    more = f" and {len(files) - 8} more" if len(files) > 8 else ""
    return f"Say which with `file`: {listed}{more}."
