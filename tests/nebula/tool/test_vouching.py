"""What may be used once is used once: steps of a plan, and values a person vouched for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

import pytest
from pydantic import Field

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import ApprovalRequired, Conflict, InvalidInput, PermissionDenied
from nebula.policy.labels import Label
from nebula.policy.plan import Plan, Step
from nebula.policy.selectors import Kind, Origin
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from nebula.tool.result import Result
from nebula.tool.vouching.models import EndorsementRow
from tests.nebula.tool import samples

TAINTED = frozenset({Label.USER, Label.OUTSIDE})
BOTH = TAINTED | {Label.PRIVATE}


class Page(Result):
    url: str


@tool(effect=Effect.READ, examples=samples.SAYS, egress=["url"], outside=True)
async def sample_fetch(
    ctx: Context, url: Annotated[str, Field(description="Which page")] = ""
) -> Page:
    """Read a page."""
    samples.DONE.append(f"fetch {url}")
    return Page(url=url)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    examples=samples.SAYS,
    selectors={"count": Kind.NUMBER, "force": Kind.CHOICE},
)
async def sample_count(
    ctx: Context,
    count: Annotated[int, Field(description="How many")],
    force: Annotated[bool, Field(description="Whether or not")] = False,
) -> Page:
    """Count to something."""
    samples.DONE.append(f"count {count}")
    return Page(url="")


@pytest.fixture
async def lab(settings: Settings) -> AsyncIterator[App]:
    samples.DONE.clear()
    ours = Registry([*samples.ALL, sample_fetch, sample_count])
    async with open_app(settings, registry=ours) as app:
        yield app


@pytest.fixture
def ada(admin: Principal) -> Caller:
    return Caller(admin, Surface.CHAT, session_id="s1", labels=TAINTED, by_model=True)


async def run(app: App, caller: Caller, call_id: str, name: str = "lamp") -> str:
    """Say how a call ended: ran, asks, or used by another one."""
    try:
        await app.executor.execute("sample_write", {"name": name}, caller=caller, call_id=call_id)
    except ApprovalRequired:
        return "asks"
    except Conflict:
        return "taken"
    return "ran"


async def endorse(app: App, who: Caller, value: object = "lamp", **more: object) -> None:
    given = {
        "principal_id": who.principal.id,
        "session_id": "s1",
        "by": who.principal,
        "surface": Surface.CHAT,
    } | more
    named = app.parts.registry.get("sample_write")
    await app.parts.judge.vouching.endorse(named, "name", value, **given)  # type: ignore[arg-type]


async def test_an_endorsed_value_is_used_once(lab: App, ada: Caller) -> None:
    assert await run(lab, ada, "c1") == "asks"
    await endorse(lab, ada)
    assert await run(lab, ada, "c2") == "ran"
    assert await run(lab, ada, "c2") == "ran"  # the same call again: its outcome is told
    assert await run(lab, ada, "c3") == "asks"
    assert samples.DONE == ["write lamp"]


async def test_of_two_calls_at_once_one_uses_the_endorsement(lab: App, ada: Caller) -> None:
    await endorse(lab, ada)
    ended = await asyncio.gather(*(run(lab, ada, f"c{n}") for n in range(4)))
    assert ended.count("ran") == 1 and set(ended) <= {"ran", "taken", "asks"}
    assert samples.DONE == ["write lamp"]


async def test_an_endorsement_counts_for_one_value_tool_conversation_and_person(
    lab: App, ada: Caller, developer: Principal
) -> None:
    await endorse(lab, ada)
    assert await run(lab, ada, "c1", name="lamps") == "asks"
    assert await run(lab, replace(ada, session_id="s2"), "c2") == "asks"
    assert await run(lab, replace(ada, session_id=None), "c3") == "asks"
    assert await run(lab, replace(ada, principal=developer), "c4") == "asks"
    with pytest.raises(ApprovalRequired):
        await lab.executor.execute("sample_break", {"name": "lamp"}, caller=ada, call_id="c5")
    assert samples.DONE == []


async def test_an_endorsement_expires(lab: App, ada: Caller) -> None:
    await endorse(lab, ada, minutes=-1)
    assert await run(lab, ada, "c1") == "asks"


async def test_models_schedules_and_strangers_endorse_nothing(
    lab: App, ada: Caller, viewer: Principal
) -> None:
    for surface in (Surface.MCP, Surface.SCHEDULE, Surface.SYSTEM):
        with pytest.raises(PermissionDenied, match="Only a person"):
            await endorse(lab, ada, surface=surface)
    with pytest.raises(PermissionDenied, match="sample:write"):
        await endorse(lab, ada, by=viewer)
    with pytest.raises(InvalidInput, match="too long"):
        await endorse(lab, ada, value="x" * 3000)
    vouching = lab.parts.judge.vouching
    with pytest.raises(InvalidInput, match="does not decide"):
        await vouching.endorse(
            lab.parts.registry.get("sample_destroy"),
            "count",
            1,
            principal_id=ada.principal.id,
            session_id="s1",
            by=ada.principal,
            surface=Surface.CHAT,
        )


async def test_what_nobody_vouched_for_beside_an_endorsed_value_still_asks(
    lab: App, ada: Caller
) -> None:
    await lab.parts.judge.vouching.endorse(
        lab.parts.registry.get("sample_count"),
        "count",
        3,
        principal_id=ada.principal.id,
        session_id="s1",
        by=ada.principal,
        surface=Surface.CHAT,
    )

    async def counted(call_id: str, **arguments: object) -> None:
        await lab.executor.execute("sample_count", arguments, caller=ada, call_id=call_id)

    for at, arguments in enumerate([{"count": 3, "force": True}, {"count": 1}]):
        with pytest.raises(ApprovalRequired):
            await counted(f"c{at}", **arguments)
    await counted("c9", count=3)
    assert samples.DONE == ["count 3"]


async def test_of_two_calls_at_once_one_uses_the_step(lab: App, ada: Caller) -> None:
    plan = Plan((Step("sample_write", {"name": "lamp"}, "t1:0", by_words=True),))
    ended = await asyncio.gather(*(run(lab, replace(ada, plan=plan), f"c{n}") for n in range(4)))
    assert ended.count("ran") == 1
    assert samples.DONE == ["write lamp"]
    assert await run(lab, replace(ada, plan=plan), "c9") == "asks"


async def test_a_step_planned_twice_runs_twice(lab: App, ada: Caller) -> None:
    steps = [Step("sample_write", {"name": "lamp"}, f"t1:{n}", by_words=True) for n in range(2)]
    planned = replace(ada, plan=Plan(tuple(steps)))
    assert [await run(lab, planned, f"c{n}") for n in range(3)] == ["ran", "ran", "asks"]


async def test_a_call_that_fails_has_used_its_step(lab: App, ada: Caller) -> None:
    from nebula.errors import UpstreamUnavailable

    plan = Plan((Step("sample_break", {"name": "upstream"}, "t1:0", by_words=True),))
    planned = replace(ada, plan=plan)
    with pytest.raises(UpstreamUnavailable):
        await lab.executor.execute(
            "sample_break", {"name": "upstream"}, caller=planned, call_id="c1"
        )
    with pytest.raises(ApprovalRequired):
        await lab.executor.execute(
            "sample_break", {"name": "upstream"}, caller=planned, call_id="c2"
        )


async def test_what_was_used_long_ago_is_forgotten(lab: App, ada: Caller) -> None:
    from sqlalchemy import func, select, text

    await endorse(lab, ada)
    await lab.parts.judge.vouching.prune()
    async with lab.parts.db.session() as session:
        assert await session.scalar(select(func.count()).select_from(EndorsementRow)) == 1
        old = "UPDATE policy_endorsements SET created_at = now() - interval '91 days'"
        await session.execute(text(old))
    await lab.parts.judge.vouching.prune()
    async with lab.parts.db.session() as session:
        assert await session.scalar(select(func.count()).select_from(EndorsementRow)) == 0


@pytest.mark.parametrize(
    ("labels", "words", "url", "asks"),
    [
        (BOTH, (), "https://evil.example/?q=secret", True),
        (BOTH, ("read https://good.example/a",), "https://good.example/a", False),
        (BOTH, ("read https://good.example/a",), "https://good.example/a?q=secret", True),
        (TAINTED, (), "https://evil.example/", False),
        (frozenset({Label.USER, Label.PRIVATE}), (), "https://evil.example/", False),
    ],
)
async def test_to_look_at_a_place_is_to_tell_it_something(
    lab: App, ada: Caller, labels: frozenset[Label], words: tuple[str, ...], url: str, asks: bool
) -> None:
    caller = replace(ada, labels=labels, words=words)
    try:
        await lab.executor.execute("sample_fetch", {"url": url}, caller=caller, call_id="c1")
        asked = ""
    except ApprovalRequired as waiting:
        asked = str(waiting)
    assert bool(asked) is asks
    assert (url in asked) is asks
    assert ([] if asks else [f"fetch {url}"]) == samples.DONE


async def test_an_approved_look_runs_once(lab: App, ada: Caller) -> None:
    caller, url = replace(ada, labels=BOTH), {"url": "https://evil.example/"}
    with pytest.raises(ApprovalRequired) as waiting:
        await lab.executor.execute("sample_fetch", url, caller=caller, call_id="c1")
    await lab.parts.approvals.decide(
        waiting.value.approval_id, decision="approve", by=ada.principal, surface=Surface.CHAT
    )
    await lab.executor.execute("sample_fetch", url, caller=caller, call_id="c1")
    await lab.executor.execute("sample_fetch", url, caller=caller, call_id="c1")
    assert samples.DONE == ["fetch https://evil.example/"]


async def test_a_decision_tells_where_each_value_comes_from(lab: App, ada: Caller) -> None:
    judge, named = lab.parts.judge, lab.parts.registry.get("sample_count")
    values = named.input_model.model_validate({"count": 3})
    decision = await judge.decide(named, values, replace(ada, words=("count to 3",)))
    assert decision.origins == {"count": Origin.WORDS, "force": Origin.DEFAULT}
    typed = await judge.decide(named, values, replace(ada, by_model=False))
    assert set(typed.origins.values()) == {Origin.WORDS}
