"""How a service is right now, asked the way its kind is asked."""

import asyncio
import json
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict

from nebula.services.map import ServiceMap, ServiceSpec

# An answer longer than this is not the small document that a health check asks for.
_MAX_BODY = 256 * 1024

_PATHS = {
    "ollama": "/api/version",
    "comfyui": "/system_stats",
    "sdwebui": "/sdapi/v1/progress?skip_current_image=true",
}
_KEYS = {"ollama": "version", "comfyui": "system", "sdwebui": "progress"}
_NAMES = {"ollama": "Ollama", "comfyui": "ComfyUI", "sdwebui": "SD WebUI"}


class Health(StrEnum):
    """How a service is: refused = down, silent = slow, wrong answers = unhealthy."""

    UP = "up"
    DOWN = "down"
    SLOW = "slow"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class ServiceHealth(BaseModel):
    """One service's health, with the reason when it is not up."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    node: str
    address: str
    state: Health
    reason: str = ""
    latency_ms: float | None = None
    checked_at: datetime
    simulated: bool = False


async def check(
    http: httpx.AsyncClient, services: ServiceMap, service: ServiceSpec
) -> ServiceHealth:
    """Ask one service how it is, within its time limit; never raises for its troubles."""
    started = time.perf_counter()
    address = services.address(service)
    simulated = services.simulated(service)
    if simulated:
        state, reason = Health.UP, "simulated"
    else:
        state, reason = await _ask(http, service, address)
    took = (time.perf_counter() - started) * 1000
    answered = state is Health.UP and not simulated
    return ServiceHealth(
        name=service.name,
        kind=service.kind,
        node=service.node,
        address="simulated" if simulated else address,
        state=state,
        reason=reason,
        latency_ms=round(took, 1) if answered else None,
        checked_at=datetime.now(UTC),
        simulated=simulated,
    )


async def _ask(http: httpx.AsyncClient, service: ServiceSpec, address: str) -> tuple[Health, str]:
    limit = service.health.timeout
    try:
        async with asyncio.timeout(limit):
            if service.kind == "tcp":
                return await _connect(address)
            return await _get(http, service, address)
    except (TimeoutError, httpx.TimeoutException):
        return Health.SLOW, f"no answer within {limit:g} s"
    except (httpx.ConnectError, ConnectionError):
        return Health.DOWN, "nothing listens there (connection refused)"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Health.DOWN, f"the connection failed ({type(error).__name__})"


async def _connect(address: str) -> tuple[Health, str]:
    parts = urlsplit(address)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    writer.close()
    return Health.UP, ""


async def _get(http: httpx.AsyncClient, service: ServiceSpec, address: str) -> tuple[Health, str]:
    path = _PATHS.get(service.kind, service.health.path)
    body = bytearray()
    async with http.stream("GET", address + path, timeout=service.health.timeout) as answer:
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > _MAX_BODY:
                return Health.UNHEALTHY, "it answers with far too much text"
    if answer.status_code >= 500:
        return Health.UNHEALTHY, f"it answers with error {answer.status_code}"
    if service.kind in _KEYS:
        return _recognise(service.kind, answer.status_code, bytes(body))
    if answer.status_code != service.health.status:
        return Health.UNHEALTHY, (f"it answers {answer.status_code}, not {service.health.status}")
    wanted = service.health.contains
    if wanted and wanted.encode() not in body:
        return Health.UNHEALTHY, f"its answer does not contain {wanted!r}"
    return Health.UP, ""


def _recognise(kind: str, status: int, body: bytes) -> tuple[Health, str]:
    """Tell the service we expect from something else that listens on its port."""
    name = _NAMES[kind]
    if kind == "sdwebui" and status == 404:
        return Health.UNHEALTHY, "its API is off; start SD WebUI with --api"
    if status in {401, 403}:
        return Health.UNHEALTHY, f"it asks for a password ({status})"
    if status != 200:
        return Health.UNHEALTHY, f"it answers {status}, which {name} would not"
    document = _json(body)
    if not isinstance(document, dict) or _KEYS[kind] not in document:
        return Health.UNHEALTHY, f"what answers there is not {name}"
    return Health.UP, ""


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
