"""No secret comes out anywhere, however a tool gives it away."""

import json

from nebula.settings import Settings
from tests.canary import ENCODINGS, found
from tests.fakes.scripted import ModelRequest, Reply, ToolUse
from tests.fakes.wire import Wire
from tests.leaks import tools, world
from tests.ui.cli.terminal import Terminal

JSON = {"Accept": "application/json"}
SINKS = {
    "approvals",
    "audit",
    "checkpoints",
    "data folder",
    "database",
    "errors",
    "event streams",
    "http",
    "jobs",
    "log",
    "mcp",
    "metrics",
    "model requests",
    "results",
    "terminal",
}


def test_tools_that_leak_in_every_encoding_leak_into_no_sink(
    settings: Settings, wire: Wire
) -> None:
    sinks = world.run(settings, wire)
    terminal = Terminal(settings.home, settings.database_url)
    for arguments in (
        ("run", "notify_send", "-a", "message=hi", "-a", "channels=hook"),
        ("run", "notify_send", "-a", f"message={world.TYPED}"),
    ):
        ended = terminal.run(*arguments)
        sinks.take("terminal", f"{ended.stdout}\n{ended.stderr}")
    world.look_at_rest(settings, sinks)
    assert sinks.texts.keys() == SINKS
    assert {sink: held for sink, held in sinks.leaks().items() if held} == {}
    # That something was hidden, everywhere where the tools said something.
    spoken = SINKS - {"data folder", "metrics", "terminal"}
    assert [s for s in sorted(spoken) if "[hidden]" not in "".join(sinks.texts[s])] == []
    assert max(world.sizes(sinks).values()) > 10_000


async def test_what_was_said_before_it_was_a_secret_is_told_to_no_model_and_no_reader_after(
    settings: Settings, wire: Wire
) -> None:
    later = "said-first-stored-later-1"

    def repeating(request: ModelRequest) -> Reply:
        """Say it, or call a tool with it: a model that remembers what it read."""
        last = request.messages[-1]
        if last["role"] == "user" and "token" in last["content"] and "leak_token" in request.tools:
            return Reply(calls=(ToolUse("leak_token", {"token": later}),))
        return Reply(pieces=("Noted.",))

    async with world.doors(settings, wire, repeating) as opened, opened.http() as http:
        body = {"message": f"write a poem about the word {later}"}
        first = await http.post("/api/jarvis/chat", json=body, headers=JSON)
        assert found(later, str(opened.fake.server.requests))
        opened.fake.server.requests.clear()
        await opened.app.parts.secrets.put("later", later, by="ada")
        body = {
            "message": "give the token away; by the way, thanks",
            "session_id": first.json()["session_id"],
        }
        second = await http.post("/api/jarvis/chat", json=body, headers=JSON)
    assert "The value of a secret stands in plain in token" in second.text
    assert found(later, second.text) == []
    requests = opened.fake.server.requests
    assert len(requests) == 2
    assert found(later, "".join(json.dumps(request.body) for request in requests)) == []


def test_the_search_itself_finds_what_it_looks_for() -> None:
    tools.UNASKED[:] = []
    told = "\n".join(tools.everywhere(world.BY_REFERENCE).values())
    sinks = world.Sinks()
    sinks.take("x", told)
    assert set(sinks.leaks()["x"]["by reference"]) == set(ENCODINGS)
