"""No secret comes out anywhere, however a tool gives it away."""

from nebula.settings import Settings
from tests.canary import ENCODINGS
from tests.fakes.wire import Wire
from tests.leaks import tools, world
from tests.ui.cli.terminal import Terminal

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


def test_the_search_itself_finds_what_it_looks_for() -> None:
    tools.UNASKED[:] = []
    told = "\n".join(tools.everywhere(world.BY_REFERENCE).values())
    sinks = world.Sinks()
    sinks.take("x", told)
    assert set(sinks.leaks()["x"]["by reference"]) == set(ENCODINGS)
