"""What every driver can do."""

from typing import Protocol

from nebula.gpu.snapshot import Holding


class Driver(Protocol):
    """A service that holds models on a card. Its methods raise `nebula.errors` only."""

    async def inspect(self) -> Holding:
        """Return what is loaded, the card's memory where the service knows it, and if it works."""
        ...

    async def models(self) -> tuple[str, ...]:
        """Return the models that could be loaded."""
        ...

    async def load(self, model: str | None, *, seconds: float) -> str:
        """Load a model within the limit; say in a sentence what was done."""
        ...

    async def unload(self, model: str | None) -> None:
        """Drop a model (None = all) from the card; returns before the memory is free."""
        ...

    async def interrupt(self) -> None:
        """Stop what it works on now."""
        ...
