"""The webhooks tools: secrets are shown once, and only owners reach what is theirs."""

from typing import Any

import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.db.engine import Database
from nebula.errors import ApprovalRequired, Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.secrets.redact import LIVE
from nebula.tool.render import to_markdown


@pytest.fixture
def use(app: App) -> Any:
    calls = iter(range(1_000))

    async def use(who: Principal, tool: str, /, call_id: str = "", **arguments: Any) -> Any:
        return await app.executor.execute(
            tool,
            arguments,
            caller=Caller(who, Surface.CHAT, session_id="ses_1"),
            call_id=call_id or f"hook-{next(calls)}",
        )

    return use


async def test_a_secret_is_shown_once_sealed_at_rest_and_hidden_from_then_on(
    app: App, use: Any, admin: Principal, database: Database
) -> None:
    await app.parts.secrets.watch.look()
    made = await use(admin, "webhooks_create", call_id="once", name="live", form="twitch")
    assert len(made.secret) == 64
    said = to_markdown(made.render())
    assert made.secret in said and "/api/hooks/whk_" in said and "tailscale funnel" in said
    with pytest.raises(Conflict, match="shown once"):
        await use(admin, "webhooks_create", call_id="once", name="live", form="twitch")
    async with database.session() as db:
        kept = str((await db.execute(text("SELECT * FROM webhooks"))).all())
        kept += str((await db.execute(text("SELECT * FROM tool_calls"))).all())
    assert made.secret not in kept
    await app.parts.secrets.watch.look()
    assert LIVE.text(f"it is {made.secret}") == "it is [hidden]"
    again = await use(admin, "webhooks_rotate", webhook="live")
    assert again.secret not in {made.secret, "[hidden]", ""}, "a new one, and readable"


async def test_only_the_owner_and_administrators_see_a_webhook_and_what_it_was_told(
    use: Any, admin: Principal, developer: Principal, people: Any
) -> None:
    await use(developer, "webhooks_create", name="mine")
    other = await people(Role.DEVELOPER, "other")
    assert (await use(other, "webhooks_list")).webhooks == []
    for tool, arguments in (
        ("webhooks_rotate", {"webhook": "mine"}),
        ("webhooks_read", {"delivery": "dlv_1"}),
    ):
        with pytest.raises(NotFound):
            await use(other, tool, **arguments)
    assert [hook.name for hook in (await use(admin, "webhooks_list")).webhooks] == ["mine"]
    await use(other, "webhooks_create", name="mine")
    with pytest.raises(Conflict, match="already"):
        await use(other, "webhooks_create", name="mine")


async def test_mistakes_are_named(use: Any, admin: Principal, viewer: Principal) -> None:
    for arguments in (
        {"name": "No Name"},
        {"name": "x", "form": "other"},
        {"name": "x", "secret": "whsec_no"},
        {"name": "x", "where": {"a": {"b": 1}}},
    ):
        with pytest.raises(InvalidInput):
            await use(admin, "webhooks_create", **arguments)
    with pytest.raises(PermissionDenied):
        await use(viewer, "webhooks_create", name="x")
    with pytest.raises(NotFound) as refused:
        await use(admin, "webhooks_rotate", webhook="nothing")
    assert refused.value.hint == "Yours: none yet."


async def test_webhooks_delete_waits_for_a_person_and_then_closes_the_address(
    app: App, use: Any, developer: Principal, viewer: Principal
) -> None:
    await use(developer, "webhooks_create", name="mine")
    with pytest.raises(PermissionDenied):
        await use(viewer, "webhooks_delete", webhook="mine")
    with pytest.raises(ApprovalRequired) as question:
        await use(developer, "webhooks_delete", call_id="gone", webhook="mine")
    assert len((await use(developer, "webhooks_list")).webhooks) == 1
    await app.parts.approvals.decide(
        question.value.approval_id, decision="approve", by=developer, surface=Surface.CHAT
    )
    done = await use(developer, "webhooks_delete", call_id="gone", webhook="mine")
    assert done.name == "mine"
    assert (await use(developer, "webhooks_list")).webhooks == []


async def test_an_agent_on_a_webhook_may_read_its_deliveries(use: Any, admin: Principal) -> None:
    agent = {"name": "herald", "purpose": "Say who has gone live.", "tools": ["jobs_list"]}
    made = await use(admin, "agents_create", **agent, on_event="webhook.received")
    assert made.agent.tools == ["jobs_list", "webhooks_read"]
    assert "webhooks:read" in made.agent.rights
    await use(admin, "agents_create", **{**agent, "name": "later"})
    changed = await use(
        admin, "agents_update", agent="later", on_event="webhook.received", where={"hook": "live"}
    )
    assert changed.agent.tools == ["jobs_list", "webhooks_read"]
    assert "webhooks:read" in changed.agent.rights


def test_plain_sentences_are_understood_without_a_model(app: App) -> None:
    for said, tool, arguments in (
        ("list my webhooks", "webhooks_list", {}),
        ("make a webhook live", "webhooks_create", {"name": "live"}),
        ("rotate the secret of the webhook live", "webhooks_rotate", {"webhook": "live"}),
        ("delete the webhook live", "webhooks_delete", {"webhook": "live"}),
        ("show the delivery dlv_1", "webhooks_read", {"delivery": "dlv_1"}),
    ):
        found = app.parts.commands.match_exact(said, list(app.parts.registry))
        assert found is not None, said
        assert (found.name, found.arguments) == (tool, arguments)
