"""The folder Chainlit works in: its configuration, texts and public files, outside the checkout."""

import json
import os
import secrets
import shutil
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from nebula.settings import Settings

_TEXTS: dict[str, object] = {
    "chat": {
        "input": {
            "placeholder": "Ask Jarvis, or type / for a command",
            "actions": {"stop": "Stop"},
        },
        "commands": {
            "button": "Commands",
            "changeTool": "Change command",
            "availableTools": "Commands",
        },
        "messages": {"status": {"using": "", "used": ""}},
        "watermark": "Nothing irreversible happens without your approval.",
    },
    "threadHistory": {
        "sidebar": {"title": "Sessions", "empty": "No sessions yet"},
        "thread": {
            "untitled": "New session",
            "actions": {
                "delete": {
                    "title": "Delete this session?",
                    "description": "Its messages are removed for good. The audit log stays.",
                    "success": "Session deleted",
                    "inProgress": "Deleting session",
                },
                "rename": {
                    "title": "Rename session",
                    "description": "A name that helps you find it again.",
                    "success": "Session renamed",
                    "inProgress": "Renaming session",
                },
            },
        },
    },
    "navigation": {
        "newChat": {
            "button": "New session",
            "dialog": {
                "title": "Start a new session?",
                "description": "This one is kept: you find it again in the sidebar.",
                "tooltip": "New session",
            },
        },
        "user": {"menu": {"logout": "Sign out"}},
    },
}

_CONFIG = """\
[project]
user_env = []
session_timeout = 3600
user_session_timeout = 43200
allow_origins = {origins}

[features]
unsafe_allow_html = false
latex = false
user_message_markdown = false
edit_message = false
favorites = false
allow_thread_sharing = false
auto_tag_thread = false

[features.spontaneous_file_upload]
enabled = true
accept = ["audio/*", "image/*", "text/*", "video/*", "application/pdf", "application/json",
  "application/zip", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"]
max_files = 10
max_size_mb = {upload_mb}

[features.mcp]
enabled = false

[UI]
name = "Nebula Command"
description = "One assistant for your machines"
language = "en-US"
default_sidebar_state = "open"
confirm_new_chat = false
cot = "full"
alert_style = "modern"
avatar_size = 26
custom_css = "/public/nebula.css?v={stamp}"
custom_js = "/public/nebula.js?v={stamp}"
custom_js_attributes = 'type="module"'
custom_meta_url = "/"
custom_meta_image_url = "/public/favicon.svg"

[[UI.header_links]]
name = "GPUs, services, approvals and jobs"
display_name = "System"
icon_url = "/public/icons/activity.svg"
url = "#system"
target = "_self"

[meta]
generated_by = "{version}"
"""


def prepare(settings: Settings) -> Path:
    """Write Chainlit's folder into the data folder and point its environment there.

    Chainlit reads these variables once, when it is imported: call this before that.
    """
    root = settings.home.expanduser().resolve() / "web"
    root.mkdir(parents=True, exist_ok=True)
    stamp = _copy_public(root / "public")
    _write_config(root / ".chainlit", settings, stamp)
    # An empty readme: without it, Chainlit warns on every page load.
    (root / "chainlit_en-US.md").write_text("", encoding="utf-8")
    os.environ["CHAINLIT_APP_ROOT"] = str(root)
    os.environ["CHAINLIT_AUTH_SECRET"] = _secret(root / "auth-secret")
    return root


def _copy_public(target: Path) -> str:
    """Copy our public files anew and return a stamp that changes when they do."""
    shutil.rmtree(target, ignore_errors=True)
    with resources.as_file(resources.files("ui") / "public") as source:
        shutil.copytree(source, target)
    newest = max(int(path.stat().st_mtime) for path in target.rglob("*") if path.is_file())
    return f"{newest:x}"


def _write_config(folder: Path, settings: Settings, stamp: str) -> None:
    from importlib.metadata import version

    (folder / "translations").mkdir(parents=True, exist_ok=True)
    config = _CONFIG.format(
        origins=json.dumps([settings.link.rstrip("/")]),
        upload_mb=max(1, settings.max_body_bytes // 2**20),
        stamp=stamp,
        version=version("chainlit"),
    )
    (folder / "config.toml").write_text(config, encoding="utf-8")
    # By its location: importing Chainlit here would make it read the wrong folder.
    spec = find_spec("chainlit")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parent / "translations" / "en-US.json"
    texts = _merge(json.loads(source.read_text(encoding="utf-8")), _TEXTS)
    (folder / "translations" / "en-US.json").write_text(json.dumps(texts), encoding="utf-8")


def _merge(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _secret(path: Path) -> str:
    """Return the key of Chainlit's internal token, made once and readable by the owner only."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text(encoding="utf-8")
