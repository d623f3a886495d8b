"""Opens the router over the providers that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from nebula.llm.ollama import OllamaProvider
from nebula.llm.openai import OpenAIProvider
from nebula.llm.provider import Provider
from nebula.llm.router import Evicted, MakeCommandModel, Router, Using
from nebula.llm.settings import LlmSettings
from nebula.settings import Settings

if TYPE_CHECKING:
    import httpx

    from nebula.db.engine import Database

_OPENAI_ITSELF: Final = "https://api.openai.com/v1"


@asynccontextmanager
async def open_router(
    settings: Settings,
    db: "Database",
    *,
    command: MakeCommandModel | None = None,
    evicted: Evicted | None = None,
    using: Using | None = None,
    transport: "httpx.AsyncBaseTransport | None" = None,
    limits: LlmSettings | None = None,
) -> AsyncIterator[Router]:
    """Hand out the router until the block ends; nothing waits for a provider here."""
    limits = limits or LlmSettings()
    providers = make_providers(settings, limits, transport)
    router = Router(
        settings, providers, db, limits=limits, command=command, evicted=evicted, using=using
    )
    async with router.running():
        yield router


def make_providers(
    settings: Settings, limits: LlmSettings, transport: "httpx.AsyncBaseTransport | None" = None
) -> list[Provider]:
    """Make Ollama always, and OpenAI when a key or a server of one's own is set."""
    providers: list[Provider] = [
        OllamaProvider(
            settings.ollama_host,
            num_ctx=settings.ollama_num_ctx,
            connect_seconds=limits.connect_seconds,
            transport=transport,
        )
    ]
    own_server = settings.openai_base_url.rstrip("/") != _OPENAI_ITSELF
    if settings.openai_api_key.get_secret_value() or own_server:
        providers.append(
            OpenAIProvider(
                settings.openai_base_url,
                settings.openai_api_key,
                connect_seconds=limits.connect_seconds,
                transport=transport,
            )
        )
    return providers
