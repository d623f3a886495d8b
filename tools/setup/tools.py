"""Guided set-up, by chat, terminal and page."""

from typing import Annotated

from pydantic import Field, SecretStr

from nebula.errors import InvalidInput, PermissionDenied
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.setup.checks import look
from tools.setup.previews import apply_preview, apply_versions
from tools.setup.schemas import Applied, Setting, SetupReport
from tools.setup.service import SECRET, Place, answers, apply, checked, take_back


@tool(
    effect=Effect.READ,
    rest="GET /setup",
    says=[
        "(check|show) [me] [the|my] (set-up|setup|installation|configuration)",
        "what is (missing|not set up|left to set up|left to configure)",
        "is (everything|jarvis) (set up|configured|installed) [correctly|right]",
        "(run|do) [a|the] (self check|doctor|diagnosis)",
    ],
    examples=[
        "what do I still have to configure",
        "help me set up Jarvis",
        "is everything installed correctly",
        "get started",
        "what is missing for image generation",
        "what should I do next to finish the installation",
    ],
    timeout=20.0,
)
async def setup_check(ctx: Context) -> SetupReport:
    """Say what of Jarvis is set up and what is missing, each with the next step."""
    return SetupReport(checks=await look(ctx))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    permission="setup:admin",
    selectors={"setting": Kind.CHOICE, "value": Kind.PLACE},
    preview=apply_preview,
    versions=apply_versions,
    egress=["value"],
    confirm=True,
    rest="POST /setup",
    says=[
        "(set|configure|change) [the] setting {setting} to {value}",
        "[my] {setting} (is at|runs at|runs on|is reachable at) {value}",
        "connect [to] {setting} at {value}",
    ],
    examples=[
        "my ComfyUI runs at http://192.168.1.20:8188",
        "set the OpenAI key",
        "Ollama is on another machine, use that address",
        "undo the last setting",
    ],
)
async def setup_apply(
    ctx: Context,
    setting: Annotated[Setting, Field(description="Which setting")],
    value: Annotated[
        str | None, Field(max_length=500, description="The new value, unless it is a secret")
    ] = None,
    secret: Annotated[
        SecretStr | None, Field(max_length=500, description="The new value of openai_api_key")
    ] = None,
    undo: Annotated[bool, Field(description="Go back to the value before the last change")] = False,
) -> Applied:
    """Set an address, key or model in `.env` or the service map, keeping a backup to go back to."""
    place = Place.of(ctx.parts.settings)
    if undo:
        return await take_back(place, ctx.parts.services, setting)
    new = checked(setting, _given(ctx, setting, value, secret))
    applied = await apply(place, ctx.parts.services, setting, new)
    return applied.model_copy(update={"answers": await answers(ctx.http, setting, new)})


def _given(ctx: Context, setting: Setting, value: str | None, secret: SecretStr | None) -> str:
    if setting in SECRET:
        if ctx.caller.by_model:
            raise PermissionDenied(
                "A key does not pass through a model",
                hint=f"Type it yourself: /setup_apply setting={setting} secret=…",
            )
        if secret is None:
            raise InvalidInput(f"Give the value of {setting} as `secret`, so that it stays hidden")
        return secret.get_secret_value()
    if value is None:
        raise InvalidInput(f"Say what {setting} is to be", hint="Give it as `value`.")
    return value
