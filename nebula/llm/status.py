"""What the router says about itself."""

from typing import Literal

from pydantic import BaseModel


class ProviderStatus(BaseModel):
    """One provider: where it is, whether it works, what it has."""

    name: str
    address: str
    state: Literal["up", "down"]
    models: list[str]
    error: str = ""
    latency_ms: float | None = None
    retry_in_seconds: float | None = None


class TierStatus(BaseModel):
    """One tier: who thinks now, and who would next."""

    tier: str
    choice: str
    active: str
    order: list[str]


class RouterStatus(BaseModel):
    """Every provider and tier."""

    providers: list[ProviderStatus]
    tiers: list[TierStatus]
    evicted: list[str] = []
