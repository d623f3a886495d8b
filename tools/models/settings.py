"""Where models come from, with which tokens, and how patient a download is."""

from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from nebula.services.sizes import GIB, Size


class ModelsSettings(BaseSettings):
    """Sources of models and limits of downloads; nothing here is used before a tool needs it."""

    model_config = SettingsConfigDict(
        env_prefix="JARVIS_MODELS_", env_file=".env", extra="ignore", populate_by_name=True
    )

    hf_endpoint: str = Field(
        "https://huggingface.co",
        validation_alias=AliasChoices("HF_ENDPOINT", "hf_endpoint"),
        description="Hugging Face, or a mirror of it",
    )
    hf_token: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("HF_TOKEN", "hf_token"),
        description="Token for gated and private models of Hugging Face",
    )
    civitai_endpoint: str = Field("https://civitai.com", description="CivitAI's address")
    civitai_token: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("CIVITAI_TOKEN", "civitai_token"),
        description="API key for models of CivitAI that ask for a sign-in",
    )
    ollama_registries: Annotated[tuple[str, ...], NoDecode] = Field(
        ("registry.ollama.ai", "ollama.com", "hf.co", "huggingface.co"),
        description="Hosts that a model's name may name for Ollama to pull from",
    )
    disk_reserve: Size = Field(2 * GIB, description="Disk space that a download leaves free")
    stall_seconds: float = Field(60.0, gt=0, description="Longest silence of a download")
    attempts: int = Field(
        6, ge=1, description="Times in a row that a download breaks off before it is given up"
    )
    retry_seconds: float = Field(
        2.0, ge=0, description="First pause after a download broke off; it doubles"
    )
    rate_limit_seconds: float = Field(
        120.0, description="Longest Retry-After that a download waits for"
    )
    verify_seconds: float = Field(
        1800.0, description="Longest silence while Ollama checks what it pulled"
    )

    @field_validator("hf_endpoint", "civitai_endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError(f"{value!r} is not an address; write it like https://huggingface.co")
        return value.rstrip("/")

    @field_validator("ollama_registries", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Take `a,b` as the environment writes lists."""
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value
