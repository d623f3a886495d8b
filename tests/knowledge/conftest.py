"""A library over a real database, with the built-in embedding model."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from knowledge.document import Loaded, loaded
from knowledge.library import Library, Shelf, Visibility
from knowledge.load.markdown import read_markdown
from knowledge.search import Search
from nebula.auth.principal import Principal, Role
from nebula.db.engine import Database
from nebula.llm.embedding import Embedder


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def library(database: Database, embedder: Embedder) -> Library:
    return Library(database, embedder)


@pytest.fixture
def search(database: Database, embedder: Embedder) -> Search:
    return Search(database, embedder)


@pytest.fixture
def person() -> Callable[..., Principal]:
    """Give a function that names a principal; the library reads no user rows."""

    def make(name: str, role: Role = Role.VIEWER) -> Principal:
        return Principal(id=f"id-{name}", name=name, role=role, permissions=frozenset({"*:*"}))

    return make


@pytest.fixture
def shelf_of() -> Callable[..., Shelf]:
    """Give a function that makes a person's shelf."""

    def make(who: Principal, visibility: Visibility = Visibility.PRIVATE, **more: str) -> Shelf:
        shelf = Shelf("default", who.id, who.name, who.role.value, visibility)
        return replace(shelf, **more)

    return make


@pytest.fixture
def page() -> Callable[[str, str], Loaded]:
    """Give a function that reads Markdown as if it were a file."""

    def make(source: str, text: str) -> Loaded:
        title, sections = read_markdown(text.encode(), source)
        return loaded(source, "markdown", text.encode(), title, sections)

    return make
