"""Where backups lie."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class BackupsSettings(BaseSettings):
    """What looks after the backups of this installation."""

    model_config = SettingsConfigDict(
        env_prefix="JARVIS_BACKUPS_", env_file=".env", extra="ignore", populate_by_name=True
    )

    folder: Path | None = Field(
        None, description="The folder that backups of the data folder or dumps are put into"
    )
    stale_hours: float = Field(
        26.0, gt=0, description="A newest backup older than this is reported as too old"
    )
