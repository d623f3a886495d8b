"""Where backups lie, and how many stay."""

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

BACKUPS: Final = "backups"
"""The folder in the data folder that backups lie in where no other is set."""


class BackupsSettings(BaseSettings):
    """What looks after the backups of this installation."""

    model_config = SettingsConfigDict(
        env_prefix="JARVIS_BACKUPS_", env_file=".env", extra="ignore", populate_by_name=True
    )

    folder: Path | None = Field(
        None,
        description="The folder that backups are put into, best on another disk; by default "
        "`backups` in the data folder",
    )
    keep: int = Field(
        7,
        ge=0,
        description="How many backups made here stay: the newest of all, and the newest of each "
        "of so many days; 0 keeps all",
    )
    with_key: bool = Field(
        True,
        description="Put the key of stored secrets into backups; without it, keep it elsewhere",
    )
    stale_hours: float = Field(
        26.0, gt=0, description="A newest backup older than this is reported as too old"
    )

    def place(self, home: Path) -> Path:
        """Return the folder that backups are put into; `home` is the data folder."""
        return self.folder or home / BACKUPS
