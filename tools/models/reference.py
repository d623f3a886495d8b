"""Reads how people name a model: an id, a web address, or `source:id`. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from nebula.errors import InvalidInput


class Source(StrEnum):
    """Where a model comes from."""

    OLLAMA = "ollama"
    HUGGINGFACE = "huggingface"
    CIVITAI = "civitai"


@dataclass(frozen=True)
class Reference:
    """A model of a source; `version` is a revision or a version's id, `file` a path in it."""

    source: Source | None
    id: str
    version: str | None = None
    file: str | None = None


_PREFIXES: Final = {
    "ollama": Source.OLLAMA,
    "hf": Source.HUGGINGFACE,
    "huggingface": Source.HUGGINGFACE,
    "civitai": Source.CIVITAI,
}
_HF_HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_CIVITAI_HOSTS: Final = frozenset(
    {"civitai.com", "www.civitai.com", "civitai.red", "civitai.green"}
)
_AIR = re.compile(r"^urn:air:[\w.-]+:\w+:civitai:(\d+)(?:@(\d+))?$", re.IGNORECASE)
_REPO = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")
_CIVITAI = re.compile(r"^(\d{1,12})(?:@(\d{1,12}))?$")
_PART = re.compile(r"^[A-Za-z0-9][\w.-]{0,127}$")


def read_reference(text: str, source: Source | None = None) -> Reference:
    """Read a model's name; `source` says where it is from when the name alone does not.

    Raises:
        InvalidInput: when it is no name of a model of that source.
    """
    text = text.strip()
    found = _address(text) or _prefixed(text) or Reference(source or _guess(text), text)
    if source is not None and found.source not in {None, source}:
        raise InvalidInput(f"{text[:100]!r} is of {found.source}, not of {source}")
    match found.source:
        case Source.HUGGINGFACE:
            return _repository(found)
        case Source.CIVITAI:
            return _civitai(found)
        case _:
            return found


def _guess(text: str) -> Source | None:
    if _AIR.match(text):
        return Source.CIVITAI
    host = text.partition("/")[0].lower()
    if host in {"hf.co", "huggingface.co"} and text.count("/") >= 2:
        return Source.OLLAMA  # this is how Ollama names a model of Hugging Face
    if _REPO.match(text.partition("@")[0]) and ":" not in text:
        return Source.HUGGINGFACE
    return None


def _prefixed(text: str) -> Reference | None:
    prefix, colon, rest = text.partition(":")
    found = _PREFIXES.get(prefix.strip().lower())
    return Reference(found, rest.strip()) if colon and found is not None and rest.strip() else None


def _address(text: str) -> Reference | None:
    if not text.lower().startswith(("https://", "http://")):
        return None
    parts = urlsplit(text)
    host = (parts.hostname or "").lower()
    path = [unquote(piece) for piece in parts.path.split("/") if piece]
    if host in _HF_HOSTS and len(path) >= 2:
        deeper = len(path) >= 5 and path[2] in {"blob", "resolve"}
        file = "/".join(path[4:]) if deeper else None
        version = path[3] if len(path) >= 4 and path[2] in {"blob", "resolve", "tree"} else None
        return Reference(Source.HUGGINGFACE, "/".join(path[:2]), version, file)
    if host in _CIVITAI_HOSTS and len(path) >= 2 and path[0] == "models":
        version = next(iter(parse_qs(parts.query).get("modelVersionId", [])), None)
        return Reference(Source.CIVITAI, path[1], version)
    if host in _CIVITAI_HOSTS and path[:3] == ["api", "download", "models"] and len(path) == 4:
        return Reference(Source.CIVITAI, "", path[3])
    raise InvalidInput(
        "Models are fetched from Hugging Face, CivitAI and Ollama, not from any address",
        hint="Give owner/name, civitai:NUMBER, or an Ollama name such as llama3.2:3b.",
    )


def _repository(found: Reference) -> Reference:
    repo, _, revision = found.id.partition("@")
    if not _REPO.match(repo) or ".." in repo or "--" in repo:
        raise InvalidInput(
            f"{found.id[:100]!r} is no model of Hugging Face", hint="Write it as owner/name."
        )
    version = found.version or revision or None
    if version is not None and (len(version) > 120 or not version.isprintable()):
        raise InvalidInput("That is no revision of a model")
    return Reference(Source.HUGGINGFACE, repo, version, found.file)


def _civitai(found: Reference) -> Reference:
    air = _AIR.match(found.id)
    match = air or _CIVITAI.match(found.id)
    if match is None and not (found.id == "" and (found.version or "").isdigit()):
        raise InvalidInput(
            f"{found.id[:100]!r} is no model of CivitAI",
            hint="Give its number, or its page's address; models_search finds it.",
        )
    number = match[1] if match else ""
    version = found.version or (match[2] if match else None)
    if version is not None and not version.isdigit():
        raise InvalidInput("A version of CivitAI is a number")
    return Reference(Source.CIVITAI, number, version, found.file)


def ollama_name(text: str, registries: tuple[str, ...]) -> str:
    """Return a model's name as Ollama takes it, when it is of a registry that may be asked.

    The Ollama server itself fetches from the host that a name begins with: any other host would
    let a name reach into its network.

    Raises:
        InvalidInput: when it is no such name, or names another host.
    """
    name, colon, tag = text.strip().rpartition(":")
    if not colon:
        name = tag
    parts = name.split("/")
    pieces = [*parts, tag] if colon else parts
    if len(parts) > 3 or any(not _PART.match(piece) or ".." in piece for piece in pieces):
        raise InvalidInput(
            f"{text[:100]!r} is no name of an Ollama model",
            hint="Names look like llama3.2:3b, or hf.co/owner/name:Q4_K_M for Hugging Face.",
        )
    if len(parts) == 3 and parts[0].lower() not in registries:
        raise InvalidInput(
            f"Ollama is not told to fetch from {parts[0]}",
            hint="JARVIS_MODELS_OLLAMA_REGISTRIES names the hosts that may be asked.",
        )
    return text.strip()
