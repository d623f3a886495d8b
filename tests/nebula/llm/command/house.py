"""A small catalogue of tools as a homelab has them; running one is not part of these tests."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Audience, Effect, tool
from nebula.tool.result import Result


class Done(Result):
    text: str = "done"


class Level(StrEnum):
    ALERT = "alert"
    SUCCESS = "success"
    INFO = "info"


Service = Annotated[str, Field(description="A service of the service map, or a model name")]
Node = Annotated[str | None, Field(description="Which node; any when left out")]


@tool(
    effect=Effect.READ,
    says=["[check|show] [the] gpu status [(on|of) {node}]", "what is on the gpu"],
    examples=["how much VRAM is free", "is the graphics card busy?"],
)
async def gpu_status(ctx: Context, node: Node = None) -> Done:
    """Show what runs on each GPU and how much memory is free."""
    return Done()


@tool(
    effect=Effect.WRITE,
    selectors=["service", "node"],
    says=["switch (to|the gpu to) {service} [on {node}]", "load {service} [on {node}]"],
    examples=["make room for image generation"],
)
async def gpu_switch(ctx: Context, service: Service, node: Node = None) -> Done:
    """Make a GPU serve another AI service, unloading first whatever does not fit beside it."""
    return Done()


@tool(
    effect=Effect.READ,
    says=["list [all] [the] services", "which services are there"],
    examples=["is everything up?"],
)
async def services_list(ctx: Context) -> Done:
    """List the services of the service map with their live health."""
    return Done()


@tool(
    effect=Effect.READ,
    says=["show [me] [the] [last {lines} lines of] [the] logs (of|from|for) {service}"],
    examples=["what did comfyui print?"],
)
async def services_logs(
    ctx: Context,
    service: Service,
    lines: Annotated[int, Field(description="How many lines", ge=1, le=1000)] = 50,
) -> Done:
    """Show the newest log lines of a service."""
    return Done()


@tool(
    effect=Effect.WRITE,
    selectors=["channels"],
    says=[
        "notify {channels} [that|saying] {message}",
        "send [an] {level} to {channels} [that|saying] {message}",
    ],
    examples=["tell everyone on discord that the stream starts"],
)
async def notify_send(
    ctx: Context,
    channels: Annotated[list[str], Field(description="Names of configured channels")],
    message: Annotated[str, Field(description="What to say")],
    level: Annotated[Level, Field(description="How urgent it is")] = Level.INFO,
) -> Done:
    """Send a message to several channels in one call."""
    return Done()


@tool(
    effect=Effect.READ,
    says=["search [the] (knowledge|manual) for {query}", "look up {query}"],
    examples=["what does the manual say about backups"],
)
async def knowledge_search(
    ctx: Context,
    query: Annotated[str, Field(description="What to look for")],
    limit: Annotated[int, Field(description="How many passages", ge=1, le=20)] = 5,
) -> Done:
    """Search the manual and everything that was added, and cite the source."""
    return Done()


@tool(
    effect=Effect.WRITE,
    selectors=["fact"],
    says=["remember [that] {fact}"],
    examples=["keep in mind that I prefer SDXL"],
)
async def recall_save(
    ctx: Context, fact: Annotated[str, Field(description="What to remember")]
) -> Done:
    """Remember something about the person who asks."""
    return Done()


@tool(
    effect=Effect.WRITE,
    selectors=["lamp"],
    says=["turn {lamp} {on}", "turn {on} {lamp}", "dim {lamp} to {percent} [percent]"],
)
async def home_set(
    ctx: Context,
    lamp: Annotated[Literal["kitchen", "living_room"], Field(description="Which lamp")],
    on: Annotated[bool | None, Field(description="On or off")] = None,
    percent: Annotated[int | None, Field(description="Brightness", ge=0, le=100)] = None,
    warmth: Annotated[float | None, Field(description="Colour temperature")] = None,
) -> Done:
    """Switch a lamp of the house."""
    return Done()


@tool(
    effect=Effect.DESTRUCTIVE,
    selectors=["name"],
    says=["delete [the] user {name}"],
    examples=["remove an account"],
)
async def users_delete(
    ctx: Context, name: Annotated[str, Field(description="Who is deleted")]
) -> Done:
    """Delete a user with all sessions and keys."""
    return Done()


@tool(
    effect=Effect.DESTRUCTIVE,
    audience=Audience.HUMAN,
    selectors=["name"],
    says=["reveal [the] secret {name}", "show [the] secret {name}"],
)
async def secrets_reveal(
    ctx: Context, name: Annotated[str, Field(description="Which secret")]
) -> Done:
    """Show the value of a secret to a person."""
    return Done()


TOOLS: list[AnyTool] = [
    gpu_status,
    gpu_switch,
    services_list,
    services_logs,
    notify_send,
    knowledge_search,
    recall_save,
    home_set,
    users_delete,
    secrets_reveal,
]

SLOT_VALUES = {
    "service": lambda: ["ollama", "comfyui", ("Stable Diffusion", "sd-webui")],
    "node": lambda: ["gaming-pc", "homeserver"],
    "channels": lambda: ["ops", "discord"],
}
