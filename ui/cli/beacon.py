"""How a running server is found: a small file in the data folder, checked before it is believed."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

from pydantic import BaseModel, ValidationError

_SECONDS = 2.0


class Beacon(BaseModel):
    """Where a server of this data folder listens."""

    pid: int
    url: str


def light(home: Path, url: str) -> None:
    """Say that this process serves at an address."""
    file = home / "server.json"
    beside = file.with_suffix(".new")
    beside.write_text(Beacon(pid=os.getpid(), url=url).model_dump_json())
    beside.replace(file)


def put_out(home: Path) -> None:
    """Say that this process serves no more."""
    seen = _read(home)
    if seen is not None and seen.pid == os.getpid():
        (home / "server.json").unlink(missing_ok=True)


def running(home: Path) -> Beacon | None:
    """Return the server of this data folder, if it lives and answers."""
    seen = _read(home)
    if seen is None or not _alive(seen.pid):
        return None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{seen.url}/healthz", timeout=_SECONDS) as answer:
            return seen if answer.status == 200 else None
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _read(home: Path) -> Beacon | None:
    try:
        return Beacon.model_validate(json.loads((home / "server.json").read_text()))
    except (OSError, ValueError, ValidationError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
