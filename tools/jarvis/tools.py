"""Which model thinks, and choosing another one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.jarvis.schemas import JarvisStatus, JarvisSwitch, SwitchedTier


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /jarvis/status",
    says=[
        "[show|check] [the] (jarvis|model|llm) status",
        "which (model|llm) (are you|is thinking|thinks|is active|do you use)",
        "what model (are you|is this)",
        "how many tokens (did you use|have you used|were used)",
    ],
    examples=[
        "which model are you using",
        "is ollama running",
        "is OpenAI reachable",
        "are you in command mode",
        "what did the language models cost today",
        "show token usage",
        "list the language models you can use",
    ],
)
async def jarvis_status(
    ctx: Context,
    hours: Annotated[
        int, Field(ge=1, le=720, description="How many hours of token usage to sum")
    ] = 24,
) -> JarvisStatus:
    """Show which language model thinks, which providers work, and the tokens used lately."""
    router = ctx.parts.router
    status = await router.status()
    usage = await router.usage.totals(datetime.now(UTC) - timedelta(hours=hours))
    return JarvisStatus(
        tiers=status.tiers, providers=status.providers, usage_hours=hours, usage=usage
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /jarvis/switch",
    selectors={"model": Kind.MODEL},
    says=[
        "(think|answer) with {model}",
        "use [the] (model|llm) {model} [for {tier} [requests]]",
        "(switch|change|set) [the|your] (model|llm|brain) to {model}",
    ],
    examples=[
        "use the model ollama:llama3.1:8b",
        "switch your brain to openai:gpt-4o",
        "change the llm to command",
        "go back to choosing the language model automatically",
        "answer without a language model",
    ],
)
async def jarvis_switch(
    ctx: Context,
    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="provider:model (e.g. ollama:llama3.1:8b), auto, or command for no model",
        ),
    ],
    tier: Annotated[
        Literal["small", "large", "vision", "embed"] | None,
        Field(description="small answers, large plans; both when left out"),
    ] = None,
) -> JarvisSwitch:
    """Choose which language model thinks; every process follows within seconds."""
    router = ctx.parts.router
    chosen = [tier] if tier else ["small", "large"]
    for name in chosen:
        await router.switch(name, model, by=ctx.principal.id)
    status = {entry.tier: entry for entry in (await router.status()).tiers}
    return JarvisSwitch(
        tiers=[
            SwitchedTier(tier=name, choice=status[name].choice, active=status[name].active)
            for name in chosen
        ]
    )
