"""setup_check and setup_apply on a real installation in a temporary folder."""

import stat
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from nebula.app import App
from nebula.auth.principal import Surface
from nebula.errors import ApprovalRequired, Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.settings import Settings
from nebula.tool.render import to_markdown
from tests.fakes.wire import Wire
from tools.setup import files
from tools.setup.schemas import State


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Person:
    """Calls tools as one administrator and approves what asks for it."""

    def __init__(self, app: App, caller: Any) -> None:
        self._app, self._caller, self._calls = app, caller, 0

    async def __call__(self, tool: str, /, **arguments: Any) -> Any:
        self._calls += 1
        call = {"caller": self._caller, "call_id": f"{id(self)}-{self._calls}"}
        try:
            return await self._app.executor.execute(tool, arguments, **call)
        except ApprovalRequired as waiting:
            await self._app.parts.approvals.decide(
                waiting.approval_id,
                decision="approve",
                by=self._caller.principal,
                surface=Surface.CHAT,
            )
        return await self._app.executor.execute(tool, arguments, **call)


@pytest.fixture
def person(app: App, caller: Any, admin: Any) -> Person:
    return Person(app, caller(admin, surface=Surface.CHAT))


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def test_a_fresh_installation_says_what_is_there_and_what_comes_next(person: Person) -> None:
    report = await person("setup_check")
    states = {each.name: each.state for each in report.checks}
    assert states["Database"] is State.OK
    assert states["Users"] is State.OK
    assert states["Disk"] in {State.OK, State.MISSING}
    assert states["Sandbox"] in {State.OK, State.OPTIONAL}
    assert states["Language model"] is State.OPTIONAL
    assert states["ComfyUI"] is State.OPTIONAL
    assert states["Notifications"] is State.OPTIONAL
    assert all(each.next_step for each in report.checks if each.state is State.MISSING)
    shown = to_markdown(report.render())
    assert "| ✓ | Database |" in shown
    assert "How do I connect ComfyUI?" in shown
    assert "/notify_set_channel" in shown


async def test_what_a_person_may_not_see_is_unknown_and_the_rest_is_still_checked(
    app: App, caller: Any, viewer: Any
) -> None:
    report = await app.executor.execute("setup_check", {}, caller=caller(viewer), call_id="c")
    assert {each.name: each.state for each in report.checks}["Database"] is State.OK


async def test_an_address_goes_into_env_and_comes_back_out_again(
    person: Person, wire: Wire, folder: Path
) -> None:
    env = folder / ".env"
    env.write_text("# mine\nOLLAMA_HOST=http://old:11434\nexport OTHER='a b'\n")
    wire.mount("http://10.0.0.5:11434", ok)
    done = await person("setup_apply", setting="ollama_host", value="http://10.0.0.5:11434/")
    assert (done.before, done.after, done.answers) == (
        "http://old:11434",
        "http://10.0.0.5:11434",
        True,
    )
    assert "Restart" in done.next_step
    assert dotenv_values(env) == {"OLLAMA_HOST": "http://10.0.0.5:11434", "OTHER": "a b"}
    assert env.read_text().startswith("# mine\n")
    assert Path(done.backup).read_text().startswith("# mine\nOLLAMA_HOST=http://old")
    assert Settings().ollama_host == "http://10.0.0.5:11434"
    undone = await person("setup_apply", setting="ollama_host", undo=True)
    assert undone.after == "http://old:11434"
    assert dotenv_values(env)["OLLAMA_HOST"] == "http://old:11434"


async def test_the_question_shows_old_and_new_and_is_void_when_the_old_value_changed(
    app: App, caller: Any, admin: Any, folder: Path
) -> None:
    (folder / ".env").write_text("JARVIS_MODEL_LARGE=ollama:old\n")
    call = {"caller": caller(admin, surface=Surface.CHAT), "call_id": "c"}
    arguments = {"setting": "model_large", "value": "ollama:new"}
    with pytest.raises(ApprovalRequired) as waiting:
        await app.executor.execute("setup_apply", arguments, **call)
    approvals, approval_id = app.parts.approvals, waiting.value.approval_id
    asked = await approvals.get(approval_id, admin)
    rows = asked.evidence.preview[0].model_dump()["rows"]
    assert rows[:2] == [["now", "ollama:old"], ["then", "ollama:new"]]
    await approvals.decide(approval_id, decision="approve", by=admin, surface=Surface.CHAT)
    (folder / ".env").write_text("JARVIS_MODEL_LARGE=ollama:other\n")
    with pytest.raises(PermissionDenied, match="changed: what it would change"):
        await app.executor.execute("setup_apply", arguments, **call)
    assert dotenv_values(folder / ".env")["JARVIS_MODEL_LARGE"] == "ollama:other"


async def test_a_setting_that_was_never_set_is_taken_out_again(
    person: Person, folder: Path
) -> None:
    with pytest.raises(Conflict, match="no earlier value"):
        await person("setup_apply", setting="model_large", undo=True)
    await person("setup_apply", setting="model_large", value="ollama:llama3.1:8b")
    assert dotenv_values(folder / ".env")["JARVIS_MODEL_LARGE"] == "ollama:llama3.1:8b"
    await person("setup_apply", setting="model_large", undo=True)
    assert dotenv_values(folder / ".env") == {}


async def test_a_key_is_hidden_everywhere_but_in_its_file(
    app: App, person: Person, caller: Any, admin: Any, folder: Path
) -> None:
    key = "sk-it's\\a 'test'#1"
    done = await person("setup_apply", setting="openai_api_key", secret=key)
    assert key not in done.model_dump_json()
    assert done.after == "(hidden)"
    assert dotenv_values(folder / ".env")["OPENAI_API_KEY"] == key
    assert Settings().openai_api_key.get_secret_value() == key
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    with pytest.raises(InvalidInput, match="as `secret`"):
        await person("setup_apply", setting="openai_api_key", value=key)
    by_model = Person(app, caller(admin, surface=Surface.CHAT, by_model=True))
    with pytest.raises(PermissionDenied, match="through a model"):
        await by_model("setup_apply", setting="openai_api_key", secret=key)


async def test_a_service_gets_its_address_in_the_map_at_once(
    app: App, person: Person, wire: Wire
) -> None:
    wire.mount("http://192.168.1.20:8188", ok)
    done = await person("setup_apply", setting="comfyui", value="http://192.168.1.20:8188")
    assert done.answers is True
    path = app.parts.settings.service_map
    text = path.read_text()
    assert "# A laptop without an NVIDIA card" in text
    service = next(s for s in app.parts.services.map.services if s.name == "comfyui")
    assert service.url == "http://192.168.1.20:8188"
    again = await person("setup_apply", setting="comfyui", value="http://192.168.1.21:8188")
    assert again.answers is False
    assert again.before == "http://192.168.1.20:8188"
    await person("setup_apply", setting="comfyui", undo=True)
    service = next(s for s in app.parts.services.map.services if s.name == "comfyui")
    assert service.url == "http://192.168.1.20:8188"


async def test_a_map_that_would_break_is_left_as_it_was(app: App, person: Person) -> None:
    path = app.parts.settings.service_map
    broken = "version: 1\nnodes: [{name: a}]\nservices:\n  - name: comfyui\n    kind: nonsense\n    node: a\n"
    path.write_text(broken)
    with pytest.raises(InvalidInput, match="would not be valid"):
        await person("setup_apply", setting="comfyui", value="http://192.168.1.20:8188")
    assert path.read_text() == broken
    path.write_text("version: 1\nnodes: [{name: a}]\nservices: []\n")
    with pytest.raises(NotFound, match="no service 'sdwebui'"):
        await person("setup_apply", setting="sdwebui", value="http://192.168.1.20:7860")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ollama_host", "192.168.1.20"),
        ("ollama_host", "file:///etc/passwd"),
        ("ollama_host", "http://user:pw@host:1"),
        ("ollama_host", "http://host:1\nJARVIS_HOST=0.0.0.0"),
        ("comfyui", "http://x?y=1"),
        ("model_small", "whatever"),
        ("public_url", ""),
    ],
)
async def test_a_value_that_does_not_fit_changes_no_file(
    person: Person, folder: Path, setting: str, value: str
) -> None:
    with pytest.raises(InvalidInput):
        await person("setup_apply", setting=setting, value=value)
    assert not (folder / ".env").exists()


async def test_setting_anything_asks_a_person_and_needs_the_right(
    app: App, caller: Any, admin: Any, developer: Any, folder: Path
) -> None:
    arguments = {"setting": "ollama_host", "value": "http://10.0.0.5:11434"}
    with pytest.raises(ApprovalRequired):
        await app.executor.execute("setup_apply", arguments, caller=caller(admin), call_id="a")
    with pytest.raises(PermissionDenied):
        await app.executor.execute("setup_apply", arguments, caller=caller(developer), call_id="b")
    assert not (folder / ".env").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("services:\n  - name: a\n    kind: http\n", 'services:\n  - name: a\n    url: "http://n"\n    kind: http\n'),
        ("services:\n  - {name: a, kind: http}\n", 'services:\n  - {name: a, url: "http://n", kind: http}\n'),
        ("services:\n  - kind: http\n    url: http://o  # old\n    name: a\n", 'services:\n  - kind: http\n    url: "http://n"  # old\n    name: a\n'),
    ],
)  # fmt: skip
def test_an_address_is_written_where_a_person_would_write_it(text: str, expected: str) -> None:
    assert files.with_map_address(text, "a", "http://n") == expected
    assert files.map_address(expected, "a") == "http://n"
    without = files.with_map_address(expected, "a", None)
    assert files.map_address(without, "a") is None


@pytest.mark.parametrize(
    "value", ["plain", "a b", "it's", "back\\slash", "#hash", 'quo"te', "$HOME"]
)
def test_any_value_survives_the_env_file(tmp_path: Path, value: str) -> None:
    path = tmp_path / "x.env"
    path.write_text(files.with_env("A=1\n", "KEY", value))
    assert dotenv_values(path) == {"A": "1", "KEY": value}
    assert files.env_value(path.read_text(), "KEY") == value
