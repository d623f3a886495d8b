"""Trust that grows: offered after five clean runs, given by a person, ended by one bad run."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

import pytest
from pydantic import Field, SecretStr
from sqlalchemy import text

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import ApprovalRequired, NebulaError, NotFound, PermissionDenied
from nebula.policy.labels import Label
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.grants import StandingGrant
from nebula.tool.registry import Registry
from nebula.tool.render import to_markdown
from nebula.tool.result import Result
from tools.policy import tools as policy

SAYS = ["water it", "water it now"]
BROKEN: set[str] = set()


class Watered(Result):
    bed: str


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    confirm=True,
    selectors=["bed", "litres"],
    examples=SAYS,
)
async def garden_water(
    ctx: Context,
    bed: Annotated[str, Field(description="Which bed")],
    litres: Annotated[float, Field(description="How much")] = 1,
) -> Watered:
    """Water a bed."""
    if bed in BROKEN:
        raise NotFound("The tap is gone.")
    return Watered(bed=bed)


@tool(effect=Effect.DESTRUCTIVE, selectors=["bed"], examples=SAYS)
async def garden_dig(ctx: Context, bed: Annotated[str, Field(description="Which")]) -> Watered:
    """Dig a bed up."""
    return Watered(bed=bed)


@tool(effect=Effect.WRITE, confirm=True, selectors=["bed", "code"], examples=SAYS)
async def garden_open(
    ctx: Context,
    bed: Annotated[str, Field(description="Which")],
    code: Annotated[SecretStr, Field(description="The gate's code")],
) -> Watered:
    """Open the gate to a bed."""
    return Watered(bed=bed)


@pytest.fixture
async def garden(settings: Settings) -> AsyncIterator[App]:
    BROKEN.clear()
    tools: list[Any] = [garden_water, garden_dig, garden_open]
    tools += [policy.policy_grant, policy.policy_list_grants, policy.policy_revoke_grant]
    async with open_app(settings, registry=Registry(tools)) as app:
        yield app


class Gardener:
    """A person whose model asks, and who answers."""

    def __init__(self, app: App, who: Principal) -> None:
        self.app, self.caller = app, Caller(who, Surface.CHAT, by_model=True)
        self._count = 0

    async def does(self, name: str, /, *, decision: Any = "approve", **arguments: Any) -> str:
        """Call a tool, answer when asked; say whether it was asked, ran, or failed."""
        self._count += 1
        call_id = f"{self.caller.principal.id}-{self._count}"
        run = self.app.executor.execute
        try:
            await run(name, arguments, caller=self.caller, call_id=call_id)
        except ApprovalRequired as waiting:
            await self.app.parts.approvals.decide(
                waiting.approval_id,
                decision=decision,
                by=self.caller.principal,
                surface=Surface.CHAT,
            )
        except NebulaError:
            return "failed"
        else:
            return "ran"
        try:
            await run(name, arguments, caller=self.caller, call_id=call_id)
        except NebulaError:
            return "asked, failed"
        return "asked"

    async def clean(self, times: int, name: str = "garden_water", **arguments: Any) -> None:
        for _ in range(times):
            assert await self.does(name, **arguments) == "asked"

    async def says(self, name: str, /, **arguments: Any) -> Any:
        """Use a tool as the person, with no model between."""
        self._count += 1
        caller = replace(self.caller, by_model=False)
        call_id = f"{self.caller.principal.id}-{self._count}"
        return await self.app.executor.execute(name, arguments, caller=caller, call_id=call_id)

    async def grants(self, *, ended: bool = False) -> list[StandingGrant]:
        listed = await self.says("policy_list_grants", ended=ended)
        assert to_markdown(listed.render())
        return list(listed.grants)

    async def granted(self, **arguments: Any) -> StandingGrant:
        await self.clean(5, **arguments)
        [offer] = await self.grants()
        return (await self.says("policy_grant", offer=offer.id)).grant  # type: ignore[no-any-return]


@pytest.fixture
def ada(garden: App, admin: Principal) -> Gardener:
    return Gardener(garden, admin)


async def test_five_clean_runs_offer_a_grant_that_a_person_gives_and_that_is_counted(
    garden: App, ada: Gardener
) -> None:
    await ada.clean(4, bed="north", litres=2)
    assert await ada.grants() == []
    await ada.clean(1, bed="north", litres=2)
    [offer] = await ada.grants()
    assert (offer.state, offer.selectors) == ("proposed", {"bed": "north", "litres": 2.0})
    assert await ada.does("garden_water", bed="north", litres=2) == "asked", "an offer is no grant"
    given = (await ada.says("policy_grant", offer=offer.id, days=7)).grant
    assert (given.state, given.decided_by) == ("active", "admin")
    assert await ada.does("garden_water", bed="north", litres=2) == "ran"
    assert await ada.does("garden_water", bed="north", litres=2.0) == "ran"
    assert await ada.does("garden_water", bed="north", litres=3) == "asked", "another value"
    assert await ada.does("garden_water", bed="south", litres=2) == "asked", "another bed"
    [counted] = await ada.grants()
    assert counted.uses == 2
    lines = await garden.parts.audit.search()
    assert [line.detail.get("grant") for line in lines if line.detail.get("grant")] == [
        given.id
    ] * 2


async def test_a_grant_is_void_after_outside_text_over_and_for_others(
    garden: App, ada: Gardener, people: Any
) -> None:
    given = await ada.granted(bed="north")
    other = Gardener(garden, await people("admin", "bob"))
    assert await other.does("garden_water", bed="north") == "asked"
    plain = ada.caller
    ada.caller = replace(plain, labels=frozenset({Label.USER, Label.OUTSIDE}))
    assert await ada.does("garden_water", bed="north") == "asked"
    ada.caller = plain
    async with garden.parts.db.session() as session:
        ended = "UPDATE policy_grants SET expires_at = now() - interval '1 s' WHERE id = :id"
        await session.execute(text(ended), {"id": given.id})
    assert await ada.does("garden_water", bed="north") == "asked"


async def test_one_bad_run_withdraws_a_grant_and_starts_the_count_again(ada: Gardener) -> None:
    given = await ada.granted(bed="north")
    BROKEN.add("north")
    assert await ada.does("garden_water", bed="north") == "failed"
    BROKEN.clear()
    [ended] = await ada.grants(ended=True)
    assert (ended.id, ended.state) == (given.id, "withdrawn")
    assert "did not end well" in ended.ended_because
    await ada.clean(4, bed="north")
    assert await ada.grants() == []
    await ada.clean(1, bed="north")
    assert [one.state for one in await ada.grants()] == ["proposed"]


async def test_a_no_breaks_the_row_and_withdraws_what_covers_the_call(ada: Gardener) -> None:
    await ada.clean(4, bed="north")
    await ada.does("garden_water", bed="north", decision="deny")
    await ada.clean(1, bed="north")
    assert await ada.grants() == []
    await ada.clean(4, bed="north")
    [offer] = await ada.grants()
    await ada.says("policy_grant", offer=offer.id)
    plain = ada.caller
    ada.caller = replace(plain, labels=frozenset({Label.USER, Label.OUTSIDE}))
    await ada.does("garden_water", bed="north", decision="deny")
    ada.caller = plain
    assert await ada.does("garden_water", bed="north") == "asked"


async def test_what_cannot_be_undone_or_compared_is_never_offered(ada: Gardener) -> None:
    await ada.clean(6, "garden_dig", bed="north")
    await ada.clean(6, "garden_open", bed="north", code="1234")
    plain = ada.caller
    ada.caller = replace(plain, labels=frozenset({Label.USER, Label.OUTSIDE}))
    await ada.clean(6, "garden_water", bed="north")
    ada.caller = plain
    assert await ada.grants(ended=True) == []


async def test_only_an_administrator_in_person_gives_a_grant(
    garden: App, ada: Gardener, developer: Principal
) -> None:
    await ada.clean(5, bed="north")
    [offer] = await ada.grants()
    run, arguments = garden.executor.execute, {"offer": offer.id}
    key = await garden.parts.auth.keys.create(ada.caller.principal.id, "k", role=developer.role)
    for caller in (
        ada.caller,
        Caller(developer, Surface.CHAT),
        Caller(await garden.parts.auth.principal_for_key(key.key), Surface.REST),
        Caller(ada.caller.principal, Surface.DISCORD),
        Caller(ada.caller.principal, Surface.MCP),
        Caller(ada.caller.principal, Surface.SCHEDULE),
    ):
        with pytest.raises(PermissionDenied):
            await run("policy_grant", arguments, caller=caller, call_id=f"{caller!r}"[:90])
    assert [one.state for one in await ada.grants()] == ["proposed"]


async def test_a_grant_is_revoked_by_whose_it_is_and_an_offer_declined(
    garden: App, ada: Gardener, developer: Principal
) -> None:
    dev = Gardener(garden, developer)
    await dev.clean(5, bed="north")
    [offer] = await dev.grants()
    with pytest.raises(PermissionDenied):
        await dev.says("policy_grant", offer=offer.id)
    await ada.says("policy_grant", offer=offer.id)
    assert await dev.does("garden_water", bed="north") == "ran"
    ended = await dev.says("policy_revoke_grant", grant=offer.id, why="too wet")
    assert "too wet" in to_markdown(ended.render())
    assert await dev.does("garden_water", bed="north") == "asked"
    await dev.clean(4, bed="north")
    [again] = await dev.grants()
    assert (await dev.says("policy_revoke_grant", grant=again.id)).grant.state == "declined"
    with pytest.raises(NotFound):
        await ada.says("policy_grant", offer="gra_nothing")
