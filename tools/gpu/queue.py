"""What the GPU tools return about leases, requests that wait, and recent decisions."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table


class Told(Result):
    """A report that names models and programs: who named them decides what its text is worth."""

    outside: bool = Field(False, exclude=True)

    def origin(self) -> Label:
        """Return OUTSIDE when it holds a name that the operator did not write."""
        return Label.OUTSIDE if self.outside else Label.SYSTEM


class LeaseInfo(BaseModel):
    """A right to use memory of a card."""

    id: str
    card: str
    service: str | None = None
    model: str | None = None
    what: str = ""
    owner: str
    priority_class: str
    state: str = Field(description="active, releasing (asked to leave) or lost (holder is silent)")
    should_yield: bool = False
    token: int = Field(description="The fencing token; tokens of a card only grow")
    vram_gb: float | None = Field(None, description="Memory of its own, beside a loaded model")
    peak_gb: float | None = Field(None, description="The most that was measured while it worked")
    seconds: float | None = Field(None, description="How long it has worked")
    job_id: str | None = None

    @property
    def label(self) -> str:
        """Return what a person calls it."""
        return self.model or self.service or self.what or "GPU work"


class WaitingInfo(BaseModel):
    """A request that waits for a place on a card, and why."""

    label: str
    owner: str
    priority_class: str
    seconds: float
    because: str = ""
    job_id: str | None = None


class DecisionInfo(BaseModel):
    """One decision of the scheduler, with its reason."""

    at: datetime
    kind: str
    card: str | None = None
    reason: str
    about: str = Field("", exclude=True)


class GpuQueue(BaseModel):
    """Who uses the cards, who waits, and what was decided lately."""

    leases: list[LeaseInfo] = Field(default_factory=list)
    waiting: list[WaitingInfo] = Field(default_factory=list)
    decisions: list[DecisionInfo] = Field(default_factory=list)

    def names(self) -> Iterator[str | None]:
        """Yield every name of a model or of work that it tells."""
        for lease in self.leases:
            yield from (lease.service, lease.model, lease.what)
        yield from (request.label for request in self.waiting)
        yield from (decision.about for decision in self.decisions)

    def blocks(self) -> list[Block]:
        """Show what there is, each as a table; nothing for what is empty."""
        found: list[Block] = []
        if self.leases:
            found.append(_leases(self.leases))
        if self.waiting:
            rows = [
                [w.label, w.owner, w.priority_class, spoken_seconds(w.seconds), w.because]
                for w in self.waiting
            ]
            columns = ["Waits", "Whose", "Class", "Since", "Why"]
            found.append(Table(title="Waiting for a GPU", columns=columns, rows=rows))
        if self.decisions:
            rows = [[d.at.strftime("%H:%M:%S"), d.kind, d.reason] for d in self.decisions]
            columns = ["At (UTC)", "What", "Why"]
            found.append(Table(title="Decided lately", columns=columns, rows=rows))
        return found


class GpuLeases(Told):
    """The leases that have not ended, and the requests that wait."""

    queue: GpuQueue

    def render(self) -> Sequence[Block]:
        """Show a sentence, and tables of what there is."""
        count = len(self.queue.leases)
        words = {0: "Nobody uses a GPU right now.", 1: "One lease is open."}
        said = words.get(count, f"{count} leases are open.")
        waits = len(self.queue.waiting)
        if waits:
            said += f" {waits} {'request waits' if waits == 1 else 'requests wait'}."
        return [Markdown(text=said), *self.queue.blocks()]


class ReleasedLease(Told):
    """A lease that was taken away."""

    lease: LeaseInfo
    job_cancelled: bool = False

    def render(self) -> Sequence[Block]:
        """Tell what happens to the lease's work and memory."""
        name, owner = escape(self.lease.label), escape(self.lease.owner)
        said = [f"**{owner}** was told to give up the lease on **{name}** ({self.lease.card})."]
        if self.job_cancelled:
            said.append(f"Its job {escape(self.lease.job_id or '')} is cancelled.")
        said.append("Its memory is given to others once its work is known to have stopped.")
        return [Markdown(text=" ".join(said))]


def _leases(leases: Sequence[LeaseInfo]) -> Table:
    rows = [
        [
            lease.label,
            lease.card,
            lease.owner,
            lease.priority_class,
            _state(lease),
            "" if lease.seconds is None else spoken_seconds(lease.seconds),
            lease.id,
        ]
        for lease in leases
    ]
    columns = ["Uses", "Card", "Whose", "Class", "State", "For", "Lease"]
    return Table(title="Leases", columns=columns, rows=rows)


def _state(lease: LeaseInfo) -> str:
    if lease.state == "active" and lease.seconds is None:
        return "starting"
    return "asked to yield" if lease.should_yield else lease.state


def spoken_seconds(seconds: float) -> str:
    """Return a time span as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
