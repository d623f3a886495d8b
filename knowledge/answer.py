"""Turns hits into passages a person can read: whole sections, numbered, with their place."""

import re

from pydantic import BaseModel, Field

from knowledge.document import ARROW, display_name
from knowledge.search import Filters, Hit, Search, relevant
from nebula.auth.principal import Principal
from nebula.policy.labels import Label

_LONGEST = 2_400
_HEADING_WEIGHT = 0.5
"""How much a heading that asks the very question lifts its section."""

_SMALL_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "could", "did", "do", "does", "for",
    "from", "have", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our",
    "should", "show", "tell", "that", "the", "their", "them", "there", "this", "to", "was", "we",
    "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
})  # fmt: skip


class Passage(BaseModel):
    """A stretch of a document that speaks to the question, and where it is."""

    number: int = Field(description="The number its citation shows")
    document: str = Field(description="The document's id")
    title: str
    source: str = Field(description="The file, page or repository file it comes from")
    heading: str = Field(description="The headings above it")
    place: str = Field(description="Page, lines or anchor")
    text: str
    kind: str
    collection: str
    label: Label
    score: float = Field(description="Fused rank score; compare within one answer only")

    @property
    def citation(self) -> str:
        """Return where this is, as a person would cite it."""
        name = display_name(self.source)
        if self.kind in {"pdf", "docx", "html"} and self.title and self.title not in name:
            name = f"{self.title} ({name})"
        own = [part for part in self.heading.split(ARROW) if part and part != self.title]
        where = own or self.heading.split(ARROW)[-1:]
        place = "" if self.place.startswith("#") else self.place
        return ARROW.join(part for part in [name, *where, place] if part)


async def passages(
    search: Search, query: str, who: Principal, *, filters: Filters, limit: int
) -> tuple[list[Passage], int]:
    """Return the best passages for a question, and how many documents were searched.

    The best one comes with its whole section, the others as they were found; passages next
    to each other in one section are one.
    """
    found = await search.find(query, who, filters=filters, limit=max(10, limit * 3))
    hits = sorted(filter(relevant, found.hits), key=lambda hit: -_weighed(hit, query))
    kept = _distinct(hits)[:limit]
    told: list[Passage] = []
    for number, hit in enumerate(kept, start=1):
        text = await search.around(hit) if number == 1 else hit.text
        told.append(_passage(number, hit, text))
    return told, found.documents


def _weighed(hit: Hit, query: str) -> float:
    """Weigh a hit's rank by how much its own heading and the question share (F1 of words)."""
    asked, heading = _words(query), _words(hit.heading.split(ARROW)[-1])
    shared = 2 * len(asked & heading) / ((len(asked) + len(heading)) or 1)
    return hit.score * (1 + _HEADING_WEIGHT * shared)


def _words(text: str) -> set[str]:
    plain = text.lower().replace("e-mail", "email")
    words = (word for word in re.findall(r"\w+", plain) if word not in _SMALL_WORDS)
    return {re.sub(r"(ing|ed|es|s)$", "", word) if len(word) > 4 else word for word in words}


def _distinct(hits: list[Hit]) -> list[Hit]:
    """Drop hits of a section that an earlier, better hit already stands for."""
    seen: list[Hit] = []
    for hit in hits:
        near = any(
            hit.document == other.document
            and hit.section == other.section
            and abs(hit.position - other.position) <= 3
            for other in seen
        )
        if not near:
            seen.append(hit)
    return seen


def _passage(number: int, hit: Hit, text: str) -> Passage:
    return Passage(
        number=number,
        document=str(hit.document),
        title=hit.title,
        source=hit.source,
        heading=hit.heading,
        place=hit.place,
        text=_shortened(text, _LONGEST),
        kind=hit.kind,
        collection=hit.collection,
        label=hit.label,
        score=round(hit.score, 5),
    )


def _shortened(text: str, longest: int) -> str:
    """Cut a text at a line or word end."""
    if len(text) <= longest:
        return text
    cut = max(text.rfind("\n", 0, longest), text.rfind(" ", 0, longest))
    return text[: cut if cut > longest // 2 else longest].rstrip() + " …"
