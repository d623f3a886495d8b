"""What a hub offers: found models, one model with its files. The same for every hub. Pure."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from nebula.services.folders import ModelKind
from tools.models.reference import Source


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class OfferedFile(_Frozen):
    """A file of a model, with what is needed to fetch and check it."""

    name: str
    size: int | None = None
    sha256: str | None = None
    git: str | None = Field(None, description="Git's blob id, for small files")
    kind: ModelKind | None = None
    primary: bool = False
    format: str = ""
    note: str = ""
    """Why it must not be fetched; empty when nothing speaks against it."""
    url: str = Field("", exclude=True)
    fallback: str = Field("", exclude=True)


class Offer(_Frozen):
    """A model of a hub, at one version."""

    source: Source
    id: str
    name: str
    version: str = ""
    """What pins it: a commit, or a version's number."""
    version_name: str = ""
    page: str = ""
    creator: str = ""
    kind: ModelKind | None = None
    kind_name: str = ""
    """The hub's own word for what it is."""
    license: str = ""
    base_model: str = ""
    trained_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    gated: bool = False
    nsfw: bool = False
    downloads: int | None = None
    likes: int | None = None
    updated: datetime | None = None
    files: tuple[OfferedFile, ...] = ()
    versions: tuple[str, ...] = ()
    """Other versions, as `number name`."""
