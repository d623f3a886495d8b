"""Tools that take secrets; they keep what they got in a list."""

from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from nebula.secrets.spots import TakesSecret
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.result import Result

GOT: list[object] = []
SAYS = ["do it", "do it now"]
Text = Annotated[str, Field(description="Some text")]
Secretive = Annotated[str, TakesSecret(), Field(description="Text that may name a secret")]


class Header(BaseModel):
    name: str
    value: Annotated[str, TakesSecret()] = ""


class Done(Result):
    said: str


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], kind=EffectKind.IDEMPOTENT)
async def sample_connect(
    ctx: Context,
    name: Text,
    token: Secretive = "",
    password: Annotated[SecretStr | None, Field(description="A password")] = None,
    headers: Annotated[list[Header], Field(description="Headers")] = [],  # noqa: B006
) -> Done:
    """Connect with credentials, and say all of them."""
    GOT.append((name, token, password and password.get_secret_value(), [h.value for h in headers]))
    return Done(said=f"connected with {token} and {[h.value for h in headers]}")


@tool(effect=Effect.WRITE, examples=SAYS, selectors=["name"], kind=EffectKind.IDEMPOTENT)
async def sample_send(ctx: Context, name: Text, token: Secretive) -> Done:
    """Send something with a credential."""
    GOT.append((name, token))
    return Done(said="sent")


@tool(effect=Effect.DESTRUCTIVE, examples=SAYS, selectors=["name"])
async def sample_destroy(ctx: Context, name: Text, token: Secretive) -> Done:
    """Destroy with a credential."""
    GOT.append((name, token))
    return Done(said="done")


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.KEYED,
    examples=SAYS,
    selectors=["name"],
    background=True,
    timeout=60,
)
async def sample_work(ctx: Context, name: Text, token: Secretive) -> Done:
    """Work for a while with a credential."""
    GOT.append((name, token))
    await ctx.job_log(f"using {token}")
    await ctx.progress(0.5, f"still using {token}")
    return Done(said=f"worked with {token}")


@tool(effect=Effect.READ, examples=SAYS)
async def sample_look(ctx: Context, name: Text) -> Done:
    """Look at a thing, which takes no secret."""
    GOT.append(name)
    return Done(said=name)


ALL = [sample_connect, sample_send, sample_destroy, sample_work, sample_look]
