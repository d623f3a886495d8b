"""What an operator may set about knowledge."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024


class KnowledgeSettings(BaseSettings):
    """Which folders may be read, and how much of anything is taken in."""

    model_config = SettingsConfigDict(
        env_prefix="JARVIS_KNOWLEDGE_", env_file=".env", extra="ignore", populate_by_name=True
    )

    roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders that may be read besides the data folder's inbox"
    )
    max_file_bytes: int = Field(20 * MIB, description="The largest single file or page")
    max_characters: int = Field(5_000_000, description="The most text kept of one document")
    max_pages: int = Field(3_000, description="The most pages of one PDF")
    max_files: int = Field(2_000, description="The most files of one folder or repository")
    max_clone_bytes: int = Field(300 * MIB, description="The most disk a clone may take")
    clone_seconds: float = Field(180.0, description="The longest a clone may take")
    read_seconds: float = Field(60.0, description="The longest reading one file may take")

    @field_validator("roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Take `a:b` as the environment writes lists of paths."""
        if isinstance(value, str):
            return tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part)
        return value
