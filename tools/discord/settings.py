"""How Jarvis comes to Discord, and how patient he is with people there."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class DiscordSettings(BaseSettings):
    """The bot of this installation; without a token there is none."""

    model_config = SettingsConfigDict(
        env_prefix="JARVIS_DISCORD_", env_file=".env", extra="ignore", populate_by_name=True
    )

    token: SecretStr = Field(
        SecretStr(""), description="The bot's token; with one, `jarvis up` opens Discord too"
    )
    api: str = Field(
        "https://discord.com/api/v10", description="Where Discord's REST is; a proxy, for instance"
    )
    kept_days: int = Field(
        180, ge=1, le=3650, description="Counts and the log of actions are kept for so many days"
    )
    unlinked: Literal["hint", "ignore"] = Field(
        "hint", description="What people without a linked account get: how to link, or nothing"
    )
    messages_per_minute: int = Field(
        12, ge=1, le=600, description="How much one person may ask in a minute"
    )
    attachment_bytes: int = Field(
        262_144, ge=0, description="The largest file that is read along with a message"
    )
    context_messages: int = Field(
        10, ge=0, le=50, description="Earlier messages of a thread that are read along"
    )
    catch_up_minutes: float = Field(
        15.0, ge=0, description="Messages missed while away are answered when not older than this"
    )
