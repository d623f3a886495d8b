"""Applies one setting: to `.env`, or to the service map, with a backup and a way back."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from nebula.errors import Conflict, InvalidInput
from nebula.services.directory import ServiceDirectory
from tools.setup import files
from tools.setup.schemas import Applied, Setting

if TYPE_CHECKING:
    from nebula.settings import Settings

_ENV = {
    Setting.OLLAMA_HOST: "OLLAMA_HOST",
    Setting.OPENAI_API_KEY: "OPENAI_API_KEY",
    Setting.OPENAI_BASE_URL: "OPENAI_BASE_URL",
    Setting.MODEL_SMALL: "JARVIS_MODEL_SMALL",
    Setting.MODEL_LARGE: "JARVIS_MODEL_LARGE",
    Setting.MODEL_VISION: "JARVIS_MODEL_VISION",
    Setting.PUBLIC_URL: "JARVIS_PUBLIC_URL",
}
SECRET = frozenset({Setting.OPENAI_API_KEY})
_ADDRESSES = frozenset(
    {
        Setting.OLLAMA_HOST,
        Setting.OPENAI_BASE_URL,
        Setting.PUBLIC_URL,
        Setting.COMFYUI,
        Setting.SDWEBUI,
    }
)
_MODELS = frozenset({Setting.MODEL_SMALL, Setting.MODEL_LARGE, Setting.MODEL_VISION})
_URL = re.compile(r"https?://[^\s/:@?#]+(?::\d{1,5})?(?:/[^\s?#]*)?")
_MODEL = re.compile(r"(?:ollama|openai):\S+|command|auto")
_SHIPPED = Path(__file__).parents[2] / "service-map.yml"
_RESTART = "Restart Jarvis (`jarvis up`) so that it takes effect."
_AT_ONCE = "It is in force now."


@dataclass(frozen=True)
class Place:
    """Where settings are written."""

    env: Path
    map: Path
    backups: Path

    @classmethod
    def of(cls, settings: "Settings") -> "Place":
        """Return the files that this process read its settings from."""
        return cls(Path(".env"), settings.service_map, settings.home / "backups" / "setup")

    def file(self, setting: Setting) -> Path:
        """Return the file that holds a setting."""
        return self.env if setting in _ENV else self.map


def checked(setting: Setting, value: str) -> str:
    """Return the value when it fits the setting.

    Raises:
        InvalidInput: when it does not; a secret is not repeated.
    """
    if not value or not value.isprintable():
        raise InvalidInput(f"{setting} needs a value on one line")
    if setting in _ADDRESSES and not _URL.fullmatch(value):
        raise InvalidInput(
            f"{setting} is an address like http://192.168.1.20:8188",
            hint="Without user, password, ? or #.",
        )
    if setting in _MODELS and not _MODEL.fullmatch(value):
        raise InvalidInput(f"{setting} is a model like ollama:llama3.2:3b")
    return value.rstrip("/") if setting in _ADDRESSES else value


def read_value(place: Place, setting: Setting) -> str | None:
    """Return what is set in the file at this moment."""
    return _read(files.read(place.file(setting)), setting)


async def apply(
    place: Place, services: ServiceDirectory, setting: Setting, value: str | None
) -> Applied:
    """Set a value, or take it out when None, keeping the file as it was before.

    Raises:
        InvalidInput: when the service map would not be valid; then nothing changes.
    """
    path = place.file(setting)
    if setting not in _ENV and not path.exists():
        await asyncio.to_thread(_write, path, files.read(_SHIPPED), setting)
    before = await asyncio.to_thread(files.read, path)
    after = _changed(before, setting, value)
    backup = await asyncio.to_thread(files.backed_up, path, place.backups)
    await asyncio.to_thread(_write, path, after, setting)
    if setting not in _ENV:
        await _reload(services, path, before, setting)
    old = _read(before, setting)
    return Applied(
        setting=setting,
        before=shown_value(setting, old),
        after=shown_value(setting, value),
        file=str(path),
        backup=str(backup or ""),
        next_step=_RESTART if setting in _ENV else _AT_ONCE,
    )


async def take_back(place: Place, services: ServiceDirectory, setting: Setting) -> Applied:
    """Set the newest earlier value that differs from the present one.

    Raises:
        Conflict: when no backup holds another value.
    """
    return await apply(place, services, setting, await earlier_value(place, setting))


async def earlier_value(place: Place, setting: Setting) -> str | None:
    """Return what taking back would set, None for taking it out; raises Conflict."""
    path = place.file(setting)
    now = await asyncio.to_thread(read_value, place, setting)
    for copy in await asyncio.to_thread(files.backups, path, place.backups):
        earlier = _read(await asyncio.to_thread(files.read, copy), setting)
        if earlier != now:
            return earlier
    if now is not None and setting in _ENV:
        return None
    raise Conflict(f"There is no earlier value of {setting} to go back to")


async def answers(http: httpx.AsyncClient, setting: Setting, value: str) -> bool | None:
    """Say whether anything answers at an address; None for settings that are none."""
    if setting not in _ADDRESSES or setting is Setting.PUBLIC_URL:
        return None
    try:
        await http.get(value, timeout=3.0, follow_redirects=False)
    except httpx.HTTPError:
        return False
    return True


async def _reload(services: ServiceDirectory, path: Path, before: str, setting: Setting) -> None:
    await services.refresh()
    wrong = [problem for problem in services.problems if problem.file == path.name]
    if wrong:
        await asyncio.to_thread(_write, path, before, setting)
        await services.refresh()
        raise InvalidInput(f"The service map would not be valid: {wrong[0]}")


def _write(path: Path, text: str, setting: Setting) -> None:
    files.write(path, text, private=setting in _ENV)


def _read(text: str, setting: Setting) -> str | None:
    if setting in _ENV:
        return files.env_value(text, _ENV[setting])
    return files.map_address(text, setting.value) if text else None


def _changed(text: str, setting: Setting, value: str | None) -> str:
    if setting in _ENV:
        return files.with_env(text, _ENV[setting], value)
    return files.with_map_address(text, setting.value, value)


def shown_value(setting: Setting, value: str | None) -> str:
    """Return a value as people may see it."""
    if value is None:
        return ""
    return "(hidden)" if setting in SECRET else value
