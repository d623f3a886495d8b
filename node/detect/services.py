"""Which AI services answer on their usual ports, on loopback and on the agent's own address."""

import asyncio
import json
from typing import Any

import httpx

from node.protocol import FoundService

USUAL = {
    "ollama": (11434, "/api/version", "version"),
    "comfyui": (8188, "/system_stats", "system"),
    "sdwebui": (7860, "/sdapi/v1/progress?skip_current_image=true", "progress"),
}
_MOST = 256 * 1024


async def found(bind: str, ports: dict[str, int] | None = None) -> tuple[FoundService, ...]:
    """Return the services that answer as their kind does, within two seconds."""
    ports = ports or {}
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
        seen = await asyncio.gather(
            *(_look(http, kind, ports.get(kind, usual[0]), bind) for kind, usual in USUAL.items())
        )
    return tuple(service for service in seen if service is not None)


async def _look(http: httpx.AsyncClient, kind: str, port: int, bind: str) -> FoundService | None:
    reachable = await _is(http, kind, bind, port)
    if reachable or (bind != "127.0.0.1" and await _is(http, kind, "127.0.0.1", port)):
        return FoundService(kind, port, reachable)
    return None


async def _is(http: httpx.AsyncClient, kind: str, host: str, port: int) -> bool:
    _, path, key = USUAL[kind]
    host = f"[{host}]" if ":" in host else host
    try:
        async with http.stream("GET", f"http://{host}:{port}{path}") as answer:
            if answer.status_code != 200:
                return False
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MOST:
                    return False
        document: Any = json.loads(bytes(body))
    except (httpx.HTTPError, OSError, ValueError):
        return False
    return isinstance(document, dict) and key in document
