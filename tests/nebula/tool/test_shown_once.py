"""What is shown once reaches whoever asked for it, though the process hides it everywhere else."""

from typing import Annotated

from nebula.app import open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.secrets.redact import LIVE
from nebula.secrets.vault import USED
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from nebula.tool.result import Result, ShownOnce

SECRET = "4f9d-a-code-that-nobody-keeps"


class Code(Result):
    code: Annotated[str, ShownOnce("Ask again.")]
    note: str


@tool(effect=Effect.WRITE, kind=EffectKind.OPAQUE, examples=["give a code", "make a code"])
async def sample_code(ctx: Context) -> Code:
    """Make a code."""
    LIVE.know_also(USED, SECRET)
    return Code(code=SECRET, note=f"it is {SECRET}")


async def test_a_known_secret_is_left_in_its_field_and_hidden_in_every_other(
    settings: Settings, admin: Principal
) -> None:
    async with open_app(settings, registry=Registry([sample_code])) as app:
        made = await app.executor.execute(
            "sample_code", {}, caller=Caller(admin, Surface.REST), call_id="once"
        )
    assert isinstance(made, Code)
    assert (made.code, made.note) == (SECRET, "it is [hidden]")
