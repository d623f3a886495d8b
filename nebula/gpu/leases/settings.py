"""How long leases and waits last, and when the scheduler looks."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LeaseSettings(BaseSettings):
    """Figures of the GPU scheduler."""

    model_config = SettingsConfigDict(env_prefix="JARVIS_GPU_", env_file=".env", extra="ignore")

    lease_seconds: float = Field(
        30.0, description="A lease whose holder is silent for so long is lost"
    )
    grace_seconds: float = Field(
        15.0, description="How long a lost lease's memory is kept after that, for its node to stop"
    )
    pickup_seconds: float = Field(
        120.0, description="How long a job's place is kept for it until a worker takes it up"
    )
    chat_wait_seconds: float = Field(
        30.0, description="How long a chat turn waits for its model before another answers"
    )
    wait_seconds: float = Field(300.0, description="How long other work waits for a place")
    poll_seconds: float = Field(1.0, description="How often the scheduler looks without being told")
    observe_seconds: float = Field(
        2.0, description="How old the picture of the cards may be while something happens"
    )
    idle_observe_seconds: float = Field(
        15.0, description="How old the picture of the cards may be while nothing happens"
    )
    idle_minutes: float = Field(
        30.0, description="Unused models are unloaded after this long; 0 = never"
    )
    comeback_seconds: float = Field(
        120.0,
        description="Jarvis's own model comes back when what took its place is idle for so long",
    )
    decision_days: float = Field(14.0, description="How long decisions and old leases are kept")
