"""Installs a service by its recipe, in a folder of its own that appears whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import yaml

from node.config import Home
from node.detect import machine
from node.errors import AgentError, Refused
from node.recipes import Recipe, recipe

_ROOT = Path(__file__).resolve().parents[1]


class Stopped(AgentError):
    """Somebody stopped the installation."""

    code, status = "stopped", 409


def install(home: Home, name: str) -> None:
    """Check, carry out the steps, and leave a service definition; undo all of it on failure.

    Raises:
        Refused: when the disk or the card is too small, or a step fails.
    """
    found = recipe(home.path, name)
    folder = _folder(home, name)
    if folder.exists():
        _say(f"{name} is installed already; its service definition is written anew")
        _define(home, found, folder)
        return
    check(home, found)
    draft = folder.with_name(f"{name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        with _stoppable():
            for number, step in enumerate(found.steps, 1):
                _say(f"step {number} of {len(found.steps)}: {' '.join(step)}")
                _step(_filled(step, home, found, draft, folder), draft)
        draft.rename(folder)
        _define(home, found, folder)
    except (AgentError, OSError):
        _say("undoing")
        shutil.rmtree(draft, ignore_errors=True)
        remove(home, name)
        raise
    _say(f"{name} {found.version} is installed")


def remove(home: Home, name: str) -> None:
    """Remove what a recipe left: its definition first, then its folder."""
    (home.path / "services.d" / f"{name}.yml").unlink(missing_ok=True)
    folder = _folder(home, name)
    if folder.exists():
        # A service that still runs keeps its files busy on Windows; a rename shows that at once.
        gone = folder.with_name(f"{name}.removed")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def check(home: Home, found: Recipe) -> None:
    """Refuse what would not fit on the disk or in the card; raises Refused."""
    free = shutil.disk_usage(home.path).free
    if free < found.disk:
        raise Refused(
            f"{found.name} takes {found.disk_gb:g} GB of disk; {free / 1024**3:.1f} GB are free",
            hint=f"Make room below {home.path}.",
        )
    if found.vram:
        cards = machine.hardware(home.path).cards
        most = max((card.vram_total or 0 for card in cards), default=0)
        if most < found.vram:
            raise Refused(
                f"{found.name} needs a card with {found.vram_gb:g} GB; "
                + (f"the largest here has {most / 1024**3:.1f} GB" if most else "none is here")
            )


def _define(home: Home, found: Recipe, folder: Path) -> None:
    """Write the service for the supervisor; it starts with the agent from now on."""
    service = found.service
    definition = {
        "argv": [*_filled(service.argv, home, found, folder, folder)],
        "kind": found.kind,
        "port": found.port,
        "health": service.health,
        "cwd": str(folder),
        "env": {k: _filled((v,), home, found, folder, folder)[0] for k, v in service.env},
        "autostart": True,
        "start_seconds": service.start_seconds,
    }
    file = home.path / "services.d" / f"{found.name}.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(definition, sort_keys=False), encoding="utf-8")
    draft.replace(file)


def _filled(
    words: Sequence[str], home: Home, found: Recipe, folder: Path, final: Path
) -> tuple[str, ...]:
    """Fill in the places; `{final}` is where a draft folder ends up."""
    places = {
        "{python}": sys.executable,
        "{folder}": str(folder),
        "{final}": str(final),
        "{bind}": home.identity().bind,
        "{port}": str(found.port),
        "{version}": found.version,
    }
    filled = []
    for word in words:
        for place, value in places.items():
            word = word.replace(place, value)  # noqa: PLW2901
        filled.append(word)
    return tuple(filled)


def _step(argv: Sequence[str], folder: Path) -> None:
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
    except OSError as error:
        raise Refused(f"{argv[0]} could not be started: {error.strerror}") from error
    if done.returncode != 0:
        raise Refused(f"{Path(argv[0]).name} failed with the code {done.returncode}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM into an error, so that a stopped installation is undone."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped("it was stopped")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _folder(home: Home, name: str) -> Path:
    return home.path / "installed" / name


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
