"""Chainlit's folder: written into the data folder, never into the checkout."""

import json
import os
import stat
import tomllib
from pathlib import Path

import pytest

from nebula.settings import Settings
from ui.chat import home


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CHAINLIT_APP_ROOT", "CHAINLIT_AUTH_SECRET"):
        monkeypatch.setenv(name, "")
    return home.prepare(Settings(_env_file=None, home=tmp_path / "data"))


def test_the_configuration_is_valid_and_closes_what_we_do_not_use(prepared: Path) -> None:
    config = tomllib.loads((prepared / ".chainlit" / "config.toml").read_text())
    # Each of these would be another reading of text from outside; see decision 0090.
    assert config["features"]["unsafe_allow_html"] is False
    assert config["features"]["latex"] is False
    assert config["features"]["user_message_markdown"] is False
    assert config["features"]["mcp"]["enabled"] is False
    assert config["project"]["allow_origins"] == ["http://127.0.0.1:8420"]
    assert os.environ["CHAINLIT_APP_ROOT"] == str(prepared)


def test_our_texts_replace_chainlit_s_and_leave_the_others(prepared: Path) -> None:
    path = prepared / ".chainlit" / "translations" / "en-US.json"
    texts = json.loads(path.read_text())
    assert texts["navigation"]["user"]["menu"]["logout"] == "Sign out"
    assert texts["common"]["actions"]["cancel"] == "Cancel"


def test_the_secret_is_made_once_and_readable_by_the_owner_only(prepared: Path) -> None:
    path = prepared / "auth-secret"
    first = path.read_text()
    home.prepare(Settings(_env_file=None, home=prepared.parent))
    assert path.read_text() == first
    assert len(first) >= 48
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_we_no_longer_have_disappears_from_the_public_folder(prepared: Path) -> None:
    old = prepared / "public" / "old.js"
    old.write_text("")
    home.prepare(Settings(_env_file=None, home=prepared.parent))
    assert not old.exists()
    assert (prepared / "public" / "nebula.css").is_file()


def test_the_theme_asks_no_other_host_for_fonts(prepared: Path) -> None:
    theme = json.loads((prepared / "public" / "theme.json").read_text())
    assert theme["custom_fonts"] == []
    for path in (prepared / "public").rglob("*"):
        if path.suffix in {".css", ".js", ".jsx", ".json"}:
            assert "https://" not in path.read_text(), path.name
