"""What a check of a card found: what was expected, what was seen, in how many milliseconds."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from nebula.services.sizes import MIB

State = Literal["right", "wrong", "hidden"]


class Finding(BaseModel):
    """One thing that was looked at; `hidden` = this machine does not tell, and that is no fault."""

    model_config = ConfigDict(frozen=True)

    what: str
    expected: str
    seen: str
    state: State
    milliseconds: float | None = None
    note: str = ""


class CardFindings(BaseModel):
    """What was found about one card."""

    model_config = ConfigDict(frozen=True)

    index: int
    name: str
    findings: tuple[Finding, ...]


class CheckReport(BaseModel):
    """What was found about this machine's cards."""

    model_config = ConfigDict(frozen=True)

    driver: str | None
    cuda: str | None
    cards: tuple[CardFindings, ...]
    seconds: float

    @property
    def wrong(self) -> int:
        """Return how many things are not as they should be."""
        return sum(f.state == "wrong" for card in self.cards for f in card.findings)

    @property
    def hidden(self) -> int:
        """Return how many things could not be seen here."""
        return sum(f.state == "hidden" for card in self.cards for f in card.findings)


def mebibytes(size: int | None, *, change: bool = False) -> str:
    """Write bytes as MiB, with a sign when it is a change."""
    if size is None:
        return "unknown"
    return f"{round(size / MIB):{'+' if change else ''}d} MiB"
