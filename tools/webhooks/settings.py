"""Where others reach the webhooks."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WebhooksSettings(BaseSettings):
    """The webhooks of this installation."""

    model_config = SettingsConfigDict(
        env_prefix="JARVIS_WEBHOOKS_", env_file=".env", extra="ignore", populate_by_name=True
    )

    url: str = Field(
        "", description="The address others reach /api/hooks by, when it is not the public one"
    )
