"""`jarvis doctor`: what is there, what is missing, and the next step for each."""

import asyncio
import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel
from rich.text import Text

from nebula.errors import NebulaError
from nebula.packages import LAYERS, checkout
from nebula.settings import Settings
from ui.cli.beacon import running
from ui.cli.operator import read_settings
from ui.cli.records import write_json
from ui.cli.show import console

if TYPE_CHECKING:
    import httpx

    from nebula.db.engine import Database
    from nebula.services.health import ServiceHealth

State = Literal["ok", "note", "problem"]
_SECONDS = 3.0
_DISK_GB = 5
_STARTS = {
    "ollama": "Install Ollama (ollama.com) and pull a model, or set OLLAMA_HOST to where it runs.",
    "comfyui": "Start ComfyUI, or correct its address in the service map.",
    "sdwebui": "Start SD WebUI with --api, or correct its address in the service map.",
}
_MARKS = {"ok": ("✓", "green"), "note": ("–", "yellow"), "problem": ("✗", "red")}


class Check(BaseModel):
    """One thing that was looked at; a `note` is worth knowing and no fault."""

    name: str
    state: State
    detail: str
    next_step: str = ""


async def doctor(*, as_json: bool) -> bool:
    """Look at everything, show it, and say whether there is no problem."""
    checks = await examine(read_settings())
    if as_json:
        write_json(checks)
    else:
        _show(checks)
    return all(check.state != "problem" for check in checks)


async def examine(settings: Settings) -> list[Check]:
    """Look at this machine and this installation."""
    checks = [_python(), *_packages(), _folder(settings.home), _disk(settings.home)]
    checks.append(await asyncio.to_thread(_port, settings))
    checks += await _guarded("database", _database, settings)
    checks += await _guarded("models and services", _network, settings)
    checks.append(await asyncio.to_thread(_gpu))
    checks.append(await asyncio.to_thread(_sandbox))
    return checks


async def _guarded(
    name: str, look: Callable[[Settings], Awaitable[Sequence[Check]]], settings: Settings
) -> Sequence[Check]:
    try:
        return await look(settings)
    except NebulaError as error:
        return [Check(name=name, state="problem", detail=str(error), next_step=error.hint)]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    return Check(
        name="python",
        state="ok" if fits else "problem",
        detail=f"Python {version} at {sys.executable}",
        next_step="" if fits else "Install Python 3.11 or newer and run 'make clean run'.",
    )


def _packages() -> list[Check]:
    """Make sure that no installed package stands in for one of ours."""
    foreign = foreign_packages()
    if not foreign:
        return [Check(name="packages", state="ok", detail=f"All from {checkout()}")]
    told = ", ".join(f"{name} from {place}" for name, place in foreign.items())
    step = (
        "Uninstall the package that brings it (openai-agents owns 'agents'), or 'make clean run'."
    )
    return [Check(name="packages", state="problem", detail=f"Not ours: {told}", next_step=step)]


def foreign_packages() -> dict[str, str]:
    """Return the top-level names that do not come from this checkout, and where they come from."""
    foreign = {}
    for name in LAYERS:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).parent if spec and spec.origin else None
        if origin != checkout() / name:
            foreign[name] = str(origin or "nowhere")
    return foreign


def _folder(home: Path) -> Check:
    place = next(path for path in (home.absolute(), *home.absolute().parents) if path.exists())
    usable = os.access(place, os.W_OK | os.X_OK)
    state: State = "ok" if usable else "problem"
    step = "" if usable else "Set JARVIS_HOME to a folder you may write to."
    made = "" if home.exists() else " (made at the first start)"
    return Check(name="data folder", state=state, detail=f"{home.absolute()}{made}", next_step=step)


def _disk(home: Path) -> Check:
    place = next(path for path in (home.absolute(), *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    enough = free >= _DISK_GB
    step = "" if enough else f"Free some space: models and images want more than {_DISK_GB} GB."
    state: State = "ok" if enough else "note"
    return Check(name="disk", state=state, detail=f"{free:.0f} GB free", next_step=step)


def _port(settings: Settings) -> Check:
    where = f"{settings.host}:{settings.port}"
    if (server := running(settings.home)) is not None:
        return Check(name="server", state="ok", detail=f"Running at {server.url}")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            step = "Start with another one: jarvis up --port 8421 (or JARVIS_PORT)."
            return Check(
                name="port", state="problem", detail=f"{where}: {error.strerror}", next_step=step
            )
    return Check(name="port", state="ok", detail=f"{where} is free; start with 'jarvis up'")


async def _database(settings: Settings) -> list[Check]:
    from nebula.db.engine import Database
    from nebula.db.migrate import is_current
    from nebula.db.open import database_addresses

    if not settings.database_url and not (settings.home / "postgres" / "data").exists():
        detail = "Embedded PostgreSQL, made at the first start"
        return [Check(name="database", state="ok", detail=detail)]
    async with database_addresses(settings) as found:
        current = await is_current(found.owner)
        async with Database(found.app) as database:
            await database.ping()
            guarded = [await _audit(database)] if current else []
    kind = "Your own PostgreSQL" if settings.database_url else "Embedded PostgreSQL"
    checks = [Check(name="database", state="ok", detail=f"{kind} answers")]
    if current:
        return [
            *checks,
            *guarded,
            Check(name="migrations", state="ok", detail="At the newest version"),
        ]
    step = "Run 'jarvis migrate' ('jarvis up' does it too)."
    detail = "Behind this version of the program"
    return [*checks, Check(name="migrations", state="note", detail=detail, next_step=step)]


async def _audit(database: "Database") -> Check:
    from nebula.tool.audit.verify import may_alter

    role = await may_alter(database)
    if role is None:
        detail = "The program's own database role can only add to it"
        return Check(name="audit log", state="ok", detail=detail)
    step = "Let it sign in as a role of its own: 'jarvis audit role' prints how."
    detail = f"The database role {role} could alter it, and only the anchors would show that"
    return Check(name="audit log", state="note", detail=detail, next_step=step)


async def _network(settings: Settings) -> list[Check]:
    import httpx

    from nebula.gpu.nvml import Nvml
    from nebula.services.directory import open_directory
    from nebula.services.health import check

    async with (
        httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http,
        open_directory(settings, http, None, nvidia=Nvml().present, watch=False) as services,
    ):
        if services.problems and settings.service_map.exists():
            detail = "; ".join(map(str, services.problems))
            step = f"Correct {settings.service_map}, or remove it to get the usual one."
            return [Check(name="service map", state="problem", detail=detail, next_step=step)]
        looks = [check(http, services.map, service) for service in services.map.services]
        return [*map(_service, await asyncio.gather(*looks)), await _openai(http, settings)]


def _service(health: "ServiceHealth") -> Check:
    if health.state == "up":
        detail = "simulated" if health.simulated else f"answers at {health.address}"
        return Check(name=health.name, state="ok", detail=detail)
    step = _STARTS.get(health.kind, "Start it, or correct its part of the service map.")
    detail = f"{health.address}: {health.reason}"
    return Check(name=health.name, state="note", detail=detail, next_step=step)


async def _openai(http: "httpx.AsyncClient", settings: Settings) -> Check:
    import httpx

    key = settings.openai_api_key.get_secret_value()
    if not key:
        step = "Set OPENAI_API_KEY (and OPENAI_BASE_URL) to fall back to it."
        return Check(name="openai", state="note", detail="No key set", next_step=step)
    where = settings.openai_base_url.rstrip("/")
    try:
        headers = {"Authorization": f"Bearer {key}"}
        status: int | None = (await http.get(f"{where}/models", headers=headers)).status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        status = None
    if status == 200:
        return Check(name="openai", state="ok", detail=f"{where} takes the key")
    step = "Check OPENAI_API_KEY and OPENAI_BASE_URL."
    why = "does not answer" if status is None else f"answers with status {status}"
    return Check(name="openai", state="note", detail=f"{where} {why}", next_step=step)


def _sandbox() -> Check:
    """Say whether programs can be run in the sandbox; without it Jarvis runs none."""
    from nebula.sandbox.layers import check_layers

    layers = check_layers()
    missing = [layer for layer in layers if not layer.there]
    if missing:
        detail = "; ".join(f"{layer.name}: {layer.detail}" for layer in missing)
        steps = " ".join(dict.fromkeys(layer.next_step for layer in missing))
        return Check(name="sandbox", state="note", detail=f"Missing {detail}", next_step=steps)
    detail = ", ".join(layer.name for layer in layers)
    return Check(name="sandbox", state="ok", detail=f"Every layer is there: {detail}")


def _gpu() -> Check:
    from nebula.gpu.nvml import Nvml

    seen = Nvml().read_now()
    if seen.gpus:
        return Check(
            name="gpu", state="ok", detail=", ".join(gpu.name or "GPU" for gpu in seen.gpus)
        )
    step = "Nothing to do: the service map shows a simulated card, to try things out."
    return Check(name="gpu", state="note", detail=seen.problem or "No NVIDIA GPU", next_step=step)


def _show(checks: list[Check]) -> None:
    out = console()
    for check in checks:
        mark, style = _MARKS[check.state]
        out.print(Text.assemble((f"{mark} ", style), (f"{check.name:18}", "bold"), check.detail))
        if check.next_step:
            out.print(Text(f"{'':20}→ {check.next_step}", style="dim"))
