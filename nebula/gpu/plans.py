"""What a placement decides: the request, the evictions with their reasons, the plan."""

from pydantic import BaseModel, ConfigDict, Field

from nebula.gpu.snapshot import Resident
from nebula.services.map import Target


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class SwitchRequest(_Frozen):
    """What to make room for; several targets when a name means several services."""

    targets: tuple[Target, ...] = Field(min_length=1)
    node: str | None = None
    evict: bool = True
    """False = only when there is room already."""


class Eviction(_Frozen):
    """One model that must go, and why in one sentence."""

    resident: Resident
    frees: int
    reload_seconds: float
    why: str


class SwitchPlan(_Frozen):
    """What a switch would do on one card; `refusal` says why it would do nothing."""

    target: Target
    node: str
    gpu: int = 0
    card: str | None = None
    needed: int | None = None
    """Bytes the target still needs on the card, the node's reserve not counted."""
    reserve: int = 0
    free: int | None = None
    free_after: int | None = None
    """Bytes free after the evictions and before the load."""
    stays: tuple[Resident, ...] = ()
    evicts: tuple[Eviction, ...] = ()
    waits_for: tuple[str, ...] = ()
    """Services that work right now and would be waited for."""
    already: bool = False
    refusal: str = ""
    hint: str = ""
    explanation: str = ""
    simulated: bool = False

    @property
    def fits(self) -> bool:
        """Say whether the target can be served."""
        return not self.refusal
