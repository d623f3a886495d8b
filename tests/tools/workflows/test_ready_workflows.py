"""Each ready-made workflow runs in its real tools, and says the right figures or nothing."""

import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from nebula.app import App, open_app
from nebula.auth.principal import Principal
from nebula.jobs.worker import open_worker
from nebula.llm.usage import CallRecord
from nebula.settings import Settings
from tests.fakes import hooks
from tests.fakes.discord_webhook import DiscordWebhook
from tests.fakes.wire import Wire
from tests.tools.workflows.conftest import Flow
from tools.agents.ready import ready_agents
from tools.backups.settings import BackupsSettings
from tools.discord.settings import DiscordSettings
from tools.webhooks.taking import STREAM, Taking
from tools.workflows.engine import Engine
from tools.workflows.ready import FOLDER, blank, ready_workflows


@pytest.fixture
async def posted(wire: Wire) -> DiscordWebhook:
    webhook = DiscordWebhook()
    wire.mount("https://discord.com", webhook)
    return webhook


@pytest.fixture
async def app(settings: Settings, wire: Wire) -> AsyncIterator[App]:
    """Open the program with all of its tools."""
    async with open_app(settings, http_transport=wire) as opened:
        yield opened


@pytest.fixture
async def flow(app: App, admin: Principal, engine: Engine, posted: DiscordWebhook) -> Flow:
    flow = Flow(app, admin, engine)
    for channel in ("ops", "community"):
        await flow.use("notify_set_channel", name=channel, address=posted.url)
    return flow


async def test_the_blank_one_fits_the_real_tools(flow: Flow) -> None:
    found = await flow.use("workflows_check", definition=blank())
    assert found.problems == []


async def ran(flow: Flow, name: str, **inputs: Any) -> Any:
    """Set up a ready-made workflow and let it run once."""
    await flow.use("workflows_create", from_ready=name)
    begun = await flow.use("workflows_run", workflow=name, inputs=inputs)
    return await flow.work(begun.run.id)


async def with_its_job(flow: Flow, run: Any) -> Any:
    """Go on with a run that waits for a job, when that has ended."""
    [job] = await flow.app.parts.jobs.list(flow.who, limit=1)
    await flow.app.parts.jobs.wait(job.id, flow.who, 60)
    return await flow.work(run.id)


def said(posted: DiscordWebhook) -> str:
    [message] = posted.posted
    return str(message)


def test_there_are_ten_ready_made_agents_and_workflows_named_like_their_files() -> None:
    assert {path.stem for path in FOLDER.glob("*.yml")} == ready_workflows().keys()
    assert ready_workflows().keys() == {
        "nightly-backup",
        "nightly-backup-check",
        "community-digest",
        "disk-watch",
        "go-live-announcer",
        "incident-first-aid",
        "weekly-costs",
    }
    assert len(ready_workflows()) + len(ready_agents()) >= 10


async def test_disk_watch_names_the_disks_with_little_room_and_else_is_silent(
    flow: Flow, posted: DiscordWebhook
) -> None:
    quiet = await ran(flow, "disk-watch", percent=0.0001)
    assert (quiet.state, quiet.output["low"], posted.posted) == ("done", 0, []), quiet.problem
    begun = await flow.use("workflows_run", workflow="disk-watch", inputs={"percent": 100})
    full = await flow.work(begun.run.id)
    assert (full.state, full.output["low"]) == ("done", 1), full.problem
    assert "this machine" in said(posted) and "free of" in said(posted)


async def test_backup_check_tells_what_is_wrong_with_the_newest_backup(
    app: App, flow: Flow, posted: DiscordWebhook, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    backup = folder / "night.sql"
    backup.write_bytes(b"-- PostgreSQL database dump complete\n")
    own = BackupsSettings(_env_file=None, folder=folder)
    app.parts._feature_settings[BackupsSettings] = own
    well = await ran(flow, "nightly-backup-check")
    assert (well.state, well.output["problem"], posted.posted) == ("done", "", []), well.problem
    past = time.time() - 30 * 3600
    os.utime(backup, (past, past))
    begun = await flow.use("workflows_run", workflow="nightly-backup-check")
    old = await flow.work(begun.run.id)
    assert old.state == "done", old.problem
    assert "is 30 hours old" in said(posted)


async def test_nightly_backup_makes_one_that_the_check_finds_well_and_else_tells(
    app: App, flow: Flow, posted: DiscordWebhook, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    own = BackupsSettings(_env_file=None, folder=folder)
    app.parts._feature_settings[BackupsSettings] = own
    async with open_worker(app, 1):
        made = await with_its_job(flow, await ran(flow, "nightly-backup"))
        assert (made.state, made.output["made"], posted.posted) == ("done", True, []), made.problem
        checked = await ran(flow, "nightly-backup-check")
        assert (checked.output["problem"], len(list(folder.iterdir()))) == ("", 1)
        [backup] = folder.iterdir()
        backup.unlink()
        folder.rmdir()
        folder.write_text("a file")
        begun = await flow.use("workflows_run", workflow="nightly-backup")
        failed = await with_its_job(flow, await flow.work(begun.run.id))
    assert (failed.state, failed.output["made"]) == ("done", False), failed.problem
    assert "No backup was made tonight" in said(posted) and "cannot be written" in said(posted)


async def test_weekly_costs_tells_the_sums_of_the_week(
    app: App, flow: Flow, posted: DiscordWebhook, admin: Principal
) -> None:
    record = CallRecord(
        at=datetime.now(UTC),
        provider="openai",
        model="gpt",
        tier="large",
        outcome="ok",
        principal_id=admin.id,
        input_tokens=1_200,
        output_tokens=34,
    )
    app.parts.router.usage.record(record)
    run = await ran(flow, "weekly-costs")
    assert (run.state, run.output["tokens"]) == ("done", 1_234), run.problem
    assert "1 calls of models with 1,234 tokens" in said(posted)


async def test_go_live_announcer_says_who_is_live_once_for_each_delivery(
    app: App, flow: Flow, posted: DiscordWebhook
) -> None:
    where = {"kind": "stream.online"}
    hook = await flow.use("webhooks_create", name="live", form="twitch", where=where)
    await flow.use("workflows_create", from_ready="go-live-announcer")
    taking, sent = Taking(app.parts), hooks.twitch(hook.secret, hooks.went_live("@everyone hi"))
    for _ in range(2):
        await taking.take(await taking.admit(hook.webhook.id, *sent))
    assert len(await app.parts.events.read(STREAM, 0)) == 1
    await flow.engine.beat()
    [run] = (await flow.use("workflows_list_runs")).runs
    run = await flow.work(run.id)
    assert run.state == "done", run.problem
    [message] = posted.posted
    assert "is live: https://www.twitch.tv/" in str(message)
    assert message["allowed_mentions"] == {"parse": []}, "a name pings nobody"


async def _down(app: App, flow: Flow) -> Any:
    """Let a service go down, and first aid come to its question."""
    app.parts.settings.service_map.write_text(
        "nodes: [{name: here}]\nservices: [{name: ollama, kind: ollama, node: here, port: 9}]\n"
    )
    await flow.use("workflows_create", from_ready="incident-first-aid")
    data = {"service": "ollama", "node": "here", "before": "up", "now": "down"}
    await app.parts.events.publish("services", "services.health_changed", data)
    await flow.engine.beat()
    [run] = (await flow.use("workflows_list_runs")).runs
    run = await flow.work(run.id)
    assert run.state == "waiting", run.problem
    return run


async def test_incident_first_aid_restarts_nothing_without_a_yes(
    app: App, flow: Flow, posted: DiscordWebhook
) -> None:
    run = await _down(app, flow)
    assert "ollama on here is down. Restart it?" in str(await flow.question())
    await flow.answer("deny")
    run = await flow.work(run.id)
    assert (run.state, posted.posted) == ("failed", [])


async def test_incident_first_aid_asks_once_and_tells_how_it_went(
    app: App, flow: Flow, posted: DiscordWebhook
) -> None:
    run = await _down(app, flow)
    await flow.answer("approve")
    run = await flow.work(run.id)
    assert (run.state, run.output) == ("done", {"restarted": False}), run.problem
    assert "Restarting ollama after your yes" in said(posted)
    assert "not to be had" in said(posted), "no machine's agent looks after it"


async def test_community_digest_sums_the_week_of_the_server(
    app: App, flow: Flow, wire: Wire, posted: DiscordWebhook
) -> None:
    async def discord(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/api/webhooks/"):
            await posted(scope, receive, send)
            return
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b'[{"id": "5", "name": "general"}]'})

    wire.unmount("https://discord.com")
    wire.mount("https://discord.com", discord)
    own = DiscordSettings(_env_file=None, token=SecretStr("a-token-for-this-test"))
    app.parts._feature_settings[DiscordSettings] = own
    async with app.parts.db.session() as db:
        await db.execute(text("INSERT INTO discord_servers (guild_id, name) VALUES ('1', 'Home')"))
        counts = [(0, "message", "5", 40), (6, "message", "5", 2), (7, "message", "5", 1_000)]
        for days, kind, key, count in [*counts, (1, "join", "", 3), (1, "command", "hi", 5)]:
            await db.execute(
                text(
                    "INSERT INTO discord_counts (guild_id, day, kind, key, count) VALUES"
                    " ('1', (now() AT TIME ZONE 'UTC')::date - :days, :kind, :key, :count)"
                ),
                {"days": days, "kind": kind, "key": key, "count": count},
            )
    run = await ran(flow, "community-digest")
    assert run.state == "done", run.problem
    assert "42 messages, 3 joined, 0 left, 5 commands used." in said(posted)
