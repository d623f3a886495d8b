"""Tools whose every effect is kept in a list, so that it can be counted what ran."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, SecretStr

from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Effect, tool
from nebula.tool.result import Result

EFFECTS: list[str] = []
"""What ran, in order."""
VERSIONS: dict[str, str] = {}
"""The version of each thing, where it is not the first."""
SAYS = ["burn it", "burn it now"]


class Ashes(Result):
    name: str


async def _versions(_ctx: Context, values: Any) -> Mapping[str, str]:
    return {values.name: VERSIONS.get(values.name, "1")}


@tool(effect=Effect.DESTRUCTIVE, selectors=["name"], examples=SAYS, versions=_versions)
async def vault_burn(
    ctx: Context,
    name: Annotated[str, Field(description="Which thing")],
    count: Annotated[float, Field(description="How many")] = 1,
    note: Annotated[str, Field(description="A note")] = "",
    password: Annotated[SecretStr | None, Field(description="A secret")] = None,
) -> Ashes:
    """Burn a thing."""
    EFFECTS.append(f"burn {name} x{count:g}")
    return Ashes(name=name)


@tool(effect=Effect.DESTRUCTIVE, selectors=["name"], examples=SAYS, critical=True)
async def vault_wipe(ctx: Context, name: Annotated[str, Field(description="Which")]) -> Ashes:
    """Wipe a thing, which weighs most."""
    EFFECTS.append(f"wipe {name}")
    return Ashes(name=name)


@tool(effect=Effect.DESTRUCTIVE, selectors=["name"], examples=SAYS)
async def vault_sell(ctx: Context, name: Annotated[str, Field(description="Which")]) -> Ashes:
    """Sell a thing."""
    EFFECTS.append(f"sell {name}")
    return Ashes(name=name)


def changed_burn() -> AnyTool:
    """Return the same tool under a declaration that has changed."""

    @tool(effect=Effect.DESTRUCTIVE, selectors=["name"], examples=SAYS)
    async def vault_burn(
        ctx: Context,
        name: Annotated[str, Field(description="Which thing, and everything beside it")],
        count: Annotated[float, Field(description="How many")] = 1,
        note: Annotated[str, Field(description="A note")] = "",
        password: Annotated[SecretStr | None, Field(description="A secret")] = None,
    ) -> Ashes:
        """Burn a thing and what stands beside it."""
        EFFECTS.append(f"burn around {name}")
        return Ashes(name=name)

    return vault_burn


ALL: list[AnyTool] = [vault_burn, vault_wipe, vault_sell]
