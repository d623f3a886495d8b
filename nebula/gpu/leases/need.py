"""What somebody wants of a GPU."""

from pydantic import BaseModel, ConfigDict, Field

from nebula.gpu.policy.types import PriorityClass
from nebula.services.map import Target


class GpuNeed(BaseModel):
    """A wish for GPU memory: a model of a service of the map, or bare memory (no service).

    `vram` and `run_seconds` stand where nothing was measured and the map has no budget; `bucket`
    tells kinds of work apart that need different amounts ("1024x1024"); `what` is for people.
    """

    model_config = ConfigDict(frozen=True)

    service: str | None = None
    model: str | None = None
    bucket: str = Field("", max_length=80)
    klass: PriorityClass
    vram: int | None = Field(None, ge=0)
    run_seconds: float | None = Field(None, ge=0)
    node: str | None = None
    yields: bool = False
    what: str = Field("", max_length=200)

    @property
    def target(self) -> Target | None:
        """Return the model it means, when it means one."""
        return Target(service=self.service, model=self.model) if self.service else None

    @property
    def label(self) -> str:
        """Return what a person calls it."""
        return self.model or self.service or self.what or "GPU work"
