"""Limits of model calls; which models there are is in the program's settings."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LlmSettings(BaseSettings):
    """How long to wait for models, and how often to look whether they are there."""

    model_config = SettingsConfigDict(env_prefix="JARVIS_LLM_", env_file=".env", extra="ignore")

    connect_seconds: float = Field(2.0, description="Time-out of a connection to a provider")
    first_token_seconds: float = Field(
        90.0, description="Longest silence before an answer begins; loading a model counts"
    )
    stall_seconds: float = Field(20.0, description="Longest silence within an answer")
    rate_limit_seconds: float = Field(
        5.0, description="Longest Retry-After that a turn waits for before it goes elsewhere"
    )
    refresh_seconds: float = Field(
        2.0, description="How often choices and evictions of other processes are read"
    )
    inventory_seconds: float = Field(30.0, description="How often a provider's models are listed")
    probe_seconds: float = Field(2.0, description="First pause before a provider is tried again")
    probe_limit_seconds: float = Field(30.0, description="Longest such pause")
    failures_to_open: int = Field(
        3, description="Errors in a row after which a provider that answers is skipped"
    )
