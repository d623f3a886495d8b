"""How long sign-ins last and how many wrong passwords are let pass."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AuthSettings(BaseSettings):
    """Limits of signing in."""

    model_config = SettingsConfigDict(env_prefix="JARVIS_AUTH_", env_file=".env", extra="ignore")

    session_idle_hours: float = Field(24 * 7, description="Unused sessions end after this long")
    session_max_hours: float = Field(24 * 30, description="Every session ends after this long")
    link_minutes: float = Field(60, description="How long a one-time sign-in link works")
    free_failures: int = Field(5, description="Wrong passwords per name before waiting starts")
    free_failures_address: int = Field(20, description="Wrong passwords per address before waiting")
    max_wait_seconds: float = Field(300, description="The longest wait after wrong passwords")
