"""Where the value of an argument comes from: the person's own words, a register, or nobody knows.

Values are compared as what they are. A part of a word, of a path or of an address is no match.
"""

from enum import StrEnum


class Kind(StrEnum):
    """What a selector names; the kind decides how two values are compared."""

    WORDS = "words"
    """Free words, compared as whole words in their order."""
    SERVICE = "service"
    NODE = "node"
    MODEL = "model"
    PERSON = "person"
    CHANNEL = "channel"
    ID = "id"
    """An id that only this system gives, such as a job's."""
    URL = "url"
    PATH = "path"
    PLACE = "place"
    """An address or a path, whichever it reads like."""
    NUMBER = "number"
    CHOICE = "choice"
    """One of a few fixed values, such as a role or a flag."""


class Origin(StrEnum):
    """Where a selector's value comes from."""

    WORDS = "words"
    """The person said it in this conversation."""
    REGISTRY = "registry"
    """The operator's own files or tables name it."""
    DEFAULT = "default"
    """It was left out, so the tool's own default holds."""
    ENDORSED = "endorsed"
    """A person has vouched for this value once."""
    UNKNOWN = "unknown"


TRUSTED = frozenset({Origin.WORDS, Origin.REGISTRY, Origin.DEFAULT, Origin.ENDORSED})
