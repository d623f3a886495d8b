"""Settings of the whole program, read from the environment and `.env`."""

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _named(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """What an operator may set; features keep their own next to their code."""

    model_config = SettingsConfigDict(
        env_prefix="JARVIS_", env_file=".env", extra="ignore", populate_by_name=True
    )

    home: Path = Field(Path(".jarvis"), description="The data folder")
    host: str = Field("127.0.0.1", description="The address the server binds to")
    port: int = Field(8420, description="The port the server binds to")
    public_url: str = Field("", description="The address people reach the server by")
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks whose X-Forwarded-For is believed, with commas between",
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="For people, or for machines"
    )
    log_level: str = Field("INFO", description="DEBUG also tells of every request")
    secrets_key: Literal["file", "keyring"] = Field(
        "file",
        description="Where the key of stored secrets is: secrets.key, or the system's keyring",
    )
    node_ca: Path | None = Field(
        None, description="The authority of nodes' own certificates, beside the public ones"
    )
    service_map: Path = Field(Path("service-map.yml"), description="The service map's file")
    policy: Path = Field(
        Path("policy.yml"), description="The operator's policy; without the file the built-in rules"
    )
    allow_private_fetch: bool = Field(
        False, description="Let tools fetch model-chosen URLs on private networks"
    )

    database_url: str = Field(
        "", validation_alias=_named("DATABASE_URL", "database_url"), description="Own PostgreSQL"
    )
    database_owner_url: str = Field(
        "",
        validation_alias=_named("DATABASE_OWNER_URL", "database_owner_url"),
        description="The same as the role that migrates, when the program has one of its own",
    )
    redis_url: str = Field(
        "",
        validation_alias=_named("REDIS_URL", "redis_url"),
        description="Optional: counts limits across processes",
    )
    ollama_host: str = Field(
        "http://127.0.0.1:11434",
        validation_alias=_named("OLLAMA_HOST", "ollama_host"),
        description="Where Ollama answers",
    )
    openai_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=_named("OPENAI_API_KEY", "openai_api_key"),
        description="Key of the OpenAI-compatible API",
    )
    openai_base_url: str = Field(
        "https://api.openai.com/v1",
        validation_alias=_named("OPENAI_BASE_URL", "openai_base_url"),
        description="Any server that speaks that API",
    )

    model_small: str = Field(
        "", description="provider:model for quick answers, e.g. ollama:llama3.2:3b"
    )
    model_large: str = Field("", description="provider:model for planning")
    model_vision: str = Field("", description="provider:model that sees pictures")
    model_embed: str = Field("", description="provider:model for embeddings")
    ollama_num_ctx: int = Field(8192, description="Context length asked of Ollama, in tokens")

    warm_start: bool = Field(
        True, description="Index the tools and the manual when starting, not when first needed"
    )
    approval_minutes: float = Field(10.0, description="How long a question to a person stands")
    approval_minutes_destructive: float = Field(
        2.0, description="The same, for what cannot be undone"
    )
    approval_minutes_critical: float = Field(
        5.0, description="The same, for what weighs most and needs a fresh sign-in"
    )
    approval_minutes_unattended: float = Field(
        1440.0, description="The same, for what runs by itself; never for what weighs most"
    )
    fresh_minutes: float = Field(
        5.0, gt=0, description="How long a sign-in, or giving the password again, counts as fresh"
    )
    max_steps: int = Field(5, description="Tool rounds per request before Jarvis asks to go on")
    session_idle_minutes: float = Field(30.0, description="Idle sessions close after this long")
    max_effects_per_minute: int = Field(300, description="Changes one person may cause in a minute")
    workers: int = Field(
        4, ge=0, le=64, description="Jobs that `jarvis up` runs at once; 0 leaves them to others"
    )
    jobs_kept_days: float = Field(
        30.0, gt=0, description="How long the record of a job that ended is kept"
    )
    events_kept_days: float = Field(
        30.0, gt=0, description="How long events can be followed from an earlier place"
    )
    audit_anchor_file: Path | None = Field(
        None, description="Where the audit log is anchored; else audit-anchors.jsonl in the home"
    )
    audit_anchor_key: SecretStr = Field(
        SecretStr(""), description="Signs the anchors, so that nobody without it can make them"
    )
    audit_anchor_minutes: float = Field(10.0, gt=0, description="Anchor after this long at most")
    audit_anchor_lines: int = Field(1000, ge=1, description="Anchor after so many lines at most")
    max_body_bytes: int = Field(32 * 1024 * 1024, description="The largest request body")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, listed: str) -> str:
        for each in filter(None, map(str.strip, listed.split(","))):
            ip_network(each, strict=False)
        return listed

    @property
    def anchors(self) -> Path:
        """Return the file of the audit log's anchors."""
        return self.audit_anchor_file or self.home / "audit-anchors.jsonl"

    @property
    def link(self) -> str:
        """Return the address to print for people."""
        return self.public_url or f"http://{self.host}:{self.port}"
