"""jarvis_status and jarvis_switch through the executor."""

from typing import TYPE_CHECKING

import pytest

from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import NotFound, PermissionDenied
from nebula.settings import Settings
from nebula.tool.render import to_markdown
from nebula.tool.result import Result
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.wire import Wire
from tools.jarvis.schemas import JarvisStatus, JarvisSwitch

if TYPE_CHECKING:
    from nebula.app import App


@pytest.fixture
def wire() -> Wire:
    wire = Wire()
    wire.mount("http://ollama.test:11434", FakeOllama())
    return wire


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ollama_host": "http://ollama.test:11434"})


async def run(app: "App", who: Principal, name: str, **arguments: object) -> Result:
    caller = Caller(who, Surface.TERMINAL, session_id="s1")
    return await app.executor.execute(name, arguments, caller=caller, call_id=f"{name}{arguments}")


async def test_jarvis_status_says_who_thinks_and_what_is_away(
    app: "App", viewer: Principal
) -> None:
    status = await run(app, viewer, "jarvis_status")
    assert isinstance(status, JarvisStatus)
    assert {t.tier: t.active for t in status.tiers}["large"] == "ollama:llama3.1:8b"
    states = {p.name: p.state for p in status.providers}
    assert states == {"ollama": "up", "openai": "down"}
    shown = to_markdown(status.render())
    assert "ollama:llama3.1:8b" in shown.replace("\\", "")


async def test_jarvis_status_without_any_model_says_what_to_do(
    app: "App", wire: Wire, viewer: Principal
) -> None:
    await run(app, viewer, "jarvis_status")
    wire.unmount("http://ollama.test:11434")
    for place in app.parts.router._places.values():
        await place.look()
    status = await run(app, viewer, "jarvis_status", hours=1)
    shown = to_markdown(status.render())
    assert "No language model is connected" in shown and "OPENAI_API_KEY" in shown


async def test_jarvis_switch_chooses_for_both_thinking_tiers_and_goes_back(
    app: "App", developer: Principal
) -> None:
    done = await run(app, developer, "jarvis_switch", model="ollama:llama3.2:3b")
    assert isinstance(done, JarvisSwitch)
    assert [(t.tier, t.active) for t in done.tiers] == [
        ("small", "ollama:llama3.2:3b"),
        ("large", "ollama:llama3.2:3b"),
    ]
    done = await run(app, developer, "jarvis_switch", model="command", tier="large")
    assert [t.active for t in done.tiers] == ["command"]  # type: ignore[attr-defined]
    done = await run(app, developer, "jarvis_switch", model="auto", tier="large")
    assert [t.active for t in done.tiers] == ["ollama:llama3.1:8b"]  # type: ignore[attr-defined]


async def test_jarvis_switch_to_a_provider_that_is_away_says_who_thinks_meanwhile(
    app: "App", developer: Principal
) -> None:
    done = await run(app, developer, "jarvis_switch", model="openai:gpt-test", tier="large")
    shown = to_markdown(done.render()).replace("\\", "")
    assert "does not answer at the moment" in shown and "ollama:llama3.1:8b" in shown


async def test_jarvis_switch_refuses_unknown_models_and_viewers(
    app: "App", developer: Principal, viewer: Principal
) -> None:
    await run(app, developer, "jarvis_status")
    with pytest.raises(NotFound, match="does not have"):
        await run(app, developer, "jarvis_switch", model="ollama:gpt-9")
    with pytest.raises(PermissionDenied):
        await run(app, viewer, "jarvis_switch", model="auto")


async def test_a_hosted_model_takes_over_when_it_comes_up(
    app: "App", wire: Wire, viewer: Principal
) -> None:
    wire.mount("http://openai.test", FakeOpenAI(models=("gpt-4o-mini",)))
    await run(app, viewer, "jarvis_status")
    for place in app.parts.router._places.values():
        await place.look()
    status = await run(app, viewer, "jarvis_status", hours=2)
    assert isinstance(status, JarvisStatus)
    assert "openai:gpt-4o-mini" in {t.tier: t.order for t in status.tiers}["small"]
