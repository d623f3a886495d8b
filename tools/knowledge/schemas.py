"""What the knowledge tools return, and how it is shown."""

import re
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, Field

from knowledge.answer import Passage
from knowledge.document import display_name
from knowledge.shelves import Listed
from nebula.markup.words import counted
from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table

_SHOWN_FAILURES = 20
_SNIPPET = 220
_MARKS = re.compile(r"\*\*|`+|^\s*(?:[-*+>#]+|\d+\.)\s|^\s*\|?[-:| ]{3,}\|?$", re.MULTILINE)
"""Markdown that only means something at the start of a line, or in pairs."""


class FileOutcome(BaseModel):
    """What became of one file or page."""

    source: str
    status: str = Field(description="added, updated, unchanged, duplicate or failed")
    passages: int = 0
    code: str = Field("", description="The error's code when it failed")
    detail: str = Field("", description="What went wrong, or the source that holds the same")
    hint: str = ""


class AddReport(Result):
    """What adding a source came to, file by file."""

    source: str
    kind: str
    collection: str
    files: list[FileOutcome]
    skipped: int = Field(0, description="Files of kinds that are not read, or ignored")
    removed: int = Field(0, description="Documents that are no longer in the folder or repository")

    def origin(self) -> Label:
        """Call names of files outside text, and what went wrong with them."""
        told = any(file.source != self.source or file.detail for file in self.files)
        return Label.OUTSIDE if told else Label.SYSTEM

    def render(self) -> Sequence[Block]:
        """Say how many files came in, and name each one that did not."""
        counts = Counter(outcome.status for outcome in self.files)
        lines = [self._headline(counts)]
        failed = [outcome for outcome in self.files if outcome.status == "failed"]
        lines += [
            f"- {escape(display_name(one.source))}: {escape(one.detail)} ({one.code})"
            for one in failed[:_SHOWN_FAILURES]
        ]
        if len(failed) > _SHOWN_FAILURES:
            lines.append(f"- and {len(failed) - _SHOWN_FAILURES} more")
        return [Markdown(text="\n".join(lines))]

    def _headline(self, counts: "Counter[str]") -> str:
        name = escape(display_name(self.source))
        if len(self.files) == 1 and not counts["failed"]:
            return self._single(self.files[0], name)
        said = [f"{number} {status}" for status, number in counts.items()]
        said += [f"{self.skipped} skipped"] if self.skipped else []
        said += [f"{self.removed} removed"] if self.removed else []
        passages = sum(outcome.passages for outcome in self.files)
        return (
            f"**{name}** ({self.kind}): {', '.join(said)}; {counted(passages, 'passage')} in all."
        )

    def _single(self, file: FileOutcome, name: str) -> str:
        match file.status:
            case "unchanged":
                return f"**{name}** is already known; nothing changed."
            case "duplicate":
                same = escape(display_name(file.detail))
                return f"**{name}** is already known: **{same}** has the same content."
            case _:
                done = "is in knowledge now" if file.status == "added" else "is up to date again"
                return f"**{name}** {done}: {counted(file.passages, 'passage')} in {escape(self.collection)}."


class Answer(Result):
    """The passages that speak to a question, best first, each with its place."""

    query: str
    passages: list[Passage]
    documents: int = Field(description="How many documents were searched")

    def origin(self) -> Label:
        """Return SYSTEM when everything quoted is from the product's manual."""
        known = all(passage.label is Label.SYSTEM for passage in self.passages)
        return Label.SYSTEM if known else Label.OUTSIDE

    def render(self) -> Sequence[Block]:
        """Quote the best section whole, the others in a line each, with numbered citations."""
        if not self.passages:
            return [Markdown(text=self._nothing())]
        best, *others = self.passages
        parts = [_quoted(best), f"{_mark(best.number)} *{escape(best.citation)}*"]
        if others:
            parts.append("**More on this**")
            parts.append("\n".join(_line(passage) for passage in others))
        return [Markdown(text="\n\n".join(parts))]

    def _nothing(self) -> str:
        where = (
            f"the {counted(self.documents, 'document')} you may read"
            if self.documents
            else "knowledge: there are no documents you may read"
        )
        return (
            f"I found nothing about “{escape(self.query)}” in {where}. "
            "To teach me, say “add” and a file, a folder, an address or a repository "
            "“to knowledge”."
        )


def _mark(number: int) -> str:
    return f"\\[{number}\\]"


def _quoted(passage: Passage) -> str:
    """Show our own manual as it is written, and anyone else's words as an inert quote."""
    if passage.label is Label.SYSTEM:
        heading = passage.heading.split(" › ")[-1]
        return f"**{heading}**\n\n{passage.text}" if heading else passage.text
    lines = [escape(line) for line in passage.text.split("\n")]
    return "\n".join(f"> {line}  " if line else ">" for line in lines)


def _line(passage: Passage) -> str:
    text = " ".join(_MARKS.sub("", passage.text).split())
    snippet = text if len(text) <= _SNIPPET else text[:_SNIPPET].rsplit(" ", 1)[0] + " …"
    return f"- {_mark(passage.number)} *{escape(passage.citation)}*: {escape(snippet)}"


class DocumentList(Result):
    """Documents in knowledge, newest first."""

    documents: list[Listed]
    total: int

    def render(self) -> Sequence[Block]:
        """Show a table, and say how many more there are."""
        if not self.documents:
            return [
                Markdown(
                    text="Knowledge holds no documents of yours yet, only the product's manual. "
                    "Say “add” and a file, folder, address or repository “to knowledge”."
                )
            ]
        table = Table(
            title=counted(self.total, "document"),
            columns=["Title", "Source", "Kind", "Collection", "Passages", "Seen by", "Owner", "Id"],
            rows=[
                [
                    one.title,
                    one.source,
                    one.kind,
                    one.collection,
                    str(one.passages),
                    one.visibility,
                    one.owner,
                    one.id,
                ]
                for one in self.documents
            ],
        )
        left = self.total - len(self.documents)
        more = [Markdown(text=f"{left} more; narrow the list or ask for the next page.")]
        return [table, *(more if left > 0 else [])]


class Forgotten(Result):
    """What was removed from knowledge."""

    sources: list[str]

    def render(self) -> Sequence[Block]:
        """Name what is gone."""
        if len(self.sources) == 1:
            return [Markdown(text=f"Forgotten: {escape(display_name(self.sources[0]))}.")]
        return [Markdown(text=f"Forgotten: {counted(len(self.sources), 'document')}.")]


class Embedding(Result):
    """A text as a vector."""

    model: str
    dimension: int
    vector: list[float] = Field(description="Unit length")

    def render(self) -> Sequence[Block]:
        """Say what it is; numbers by the hundred tell a person nothing."""
        start = ", ".join(f"{value:.3f}" for value in self.vector[:4])
        text = f"{self.dimension} numbers by {escape(self.model)}, beginning {start} …"
        return [Markdown(text=text)]
