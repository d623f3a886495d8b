"""Looks after services: starts, stops and restarts them with growing pauses, and checks them."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from node import ring
from node.clock import now
from node.config import Config, ServiceSpec
from node.errors import AgentError, Unknown
from node.journal import Journal
from node.launch import Launched, end_for_good, launch
from node.protocol import LogView, ServiceReport, ServiceState

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_WELL_AFTER = 60.0
_GIVE_UP = 10
_PATHS = {
    "ollama": "/api/version",
    "comfyui": "/system_stats",
    "sdwebui": "/sdapi/v1/progress?skip_current_image=true",
}


class _Service:
    """One service: what it is, how it is, and the loop that looks after it."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self.state = ServiceState.STOPPED
        self.reason = ""
        self.restarts = 0
        self.launched: Launched | None = None
        self.loop: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.wanted: bool | None = None


class Supervisor:
    """Looks after every service of the config; what was wanted is remembered over restarts."""

    def __init__(
        self,
        folder: Path,
        config: Callable[[], Config],
        journal: Journal,
        bind: str,
        *,
        pause: float = _FIRST_PAUSE,
        check_seconds: float = 5.0,
    ) -> None:
        """Take the folder for logs, the owner's config, and the address services bind to."""
        self._folder = folder
        self._config = config
        self._journal = journal
        self._bind = bind
        self._pause = pause
        self._check_seconds = check_seconds
        self._services: dict[str, _Service] = {}
        self._changing = asyncio.Lock()

    async def open(self) -> None:
        """Start what was running, and what starts by itself."""
        wanted = self._wanted()
        self._load()
        for name, service in self._services.items():
            service.wanted = wanted.get(name)
            if service.wanted if service.wanted is not None else service.spec.autostart:
                await self.start(name)

    async def close(self) -> None:
        """Stop everything, and remember that it is to run again."""
        await asyncio.gather(*(self._halt(s) for s in self._services.values()))

    async def start(self, name: str) -> ServiceReport:
        """Start a service; one that runs is left alone."""
        async with self._changing:
            service = self._service(name)
            if service.loop is None or service.loop.done():
                service.stopping.clear()
                service.restarts = 0
                service.state, service.reason = ServiceState.STARTING, ""
                service.loop = asyncio.create_task(self._look_after(service))
            self._want(service, wanted=True)
            return _report(service)

    async def stop(self, name: str) -> ServiceReport:
        """Stop a service and all it started; it stays stopped."""
        async with self._changing:
            service = self._service(name)
            self._want(service, wanted=False)
            await self._halt(service)
            return _report(service)

    async def restart(self, name: str) -> ServiceReport:
        """Stop a service when it runs, and start it."""
        await self.stop(name)
        return await self.start(name)

    async def forget(self, name: str) -> None:
        """Stop a service whose definition is gone, and forget it."""
        async with self._changing:
            service = self._services.get(name)
            if service is not None:
                await self._halt(service)
                self._services.pop(name, None)

    def reports(self) -> tuple[ServiceReport, ...]:
        """Return how every service is."""
        with contextlib.suppress(AgentError):
            self._load()
        return tuple(_report(s) for _, s in sorted(self._services.items()))

    def logs(self, name: str, lines: int) -> LogView:
        """Return the last lines of a service's log."""
        self._service(name)
        found, place = ring.tail(self._folder / name, lines)
        return LogView(name, tuple(found), place)

    def pids(self) -> dict[int, int]:
        """Return process and port of every running service that has a port."""
        return {
            s.launched.pid: s.spec.port
            for s in self._services.values()
            if s.launched is not None and s.launched.pid is not None and s.spec.port is not None
        }

    def _load(self) -> None:
        """Take the owner's changes; a running service keeps its old form until it restarts."""
        specs = self._config().services
        for name, spec in specs.items():
            service = self._services.setdefault(name, _Service(spec))
            service.spec = spec
        for name in self._services.keys() - specs.keys():
            service = self._services[name]
            if service.loop is None or service.loop.done():
                del self._services[name]

    def _service(self, name: str) -> _Service:
        self._load()
        found = self._services.get(name)
        if found is None:
            known = ", ".join(sorted(self._services)) or "none"
            raise Unknown(
                f"There is no service {name[:60]!r} on this machine",
                hint=f"Looked after: {known}. services_deploy_ai installs one.",
            )
        return found

    async def _look_after(self, service: _Service) -> None:
        """Run a service until it is to stop; start it again with growing pauses."""
        pause = self._pause
        while not service.stopping.is_set():
            began = now()
            await self._run_once(service)
            if service.stopping.is_set():
                break
            if now() - began > _WELL_AFTER:
                pause, service.restarts = self._pause, 0
            service.restarts += 1
            if service.restarts > _GIVE_UP:
                service.state = ServiceState.FAILED
                service.reason = f"it ended {_GIVE_UP} times in a row: {service.reason}"
                self._journal.write("service_failed", service=service.spec.name)
                return
            service.state = ServiceState.WAITING
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(service.stopping.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        service.state, service.reason = ServiceState.STOPPED, ""

    async def _run_once(self, service: _Service) -> None:
        spec = service.spec
        service.state = ServiceState.STARTING
        service.launched = await launch(
            [self._filled(word) for word in spec.argv],
            self._folder / spec.name,
            env={key: self._filled(value) for key, value in spec.env},
            cwd=spec.cwd,
            grace=10.0,
        )
        self._journal.write("service_started", service=spec.name, pid=service.launched.pid,
                            started=service.launched.started)  # fmt: skip
        checks = asyncio.create_task(self._check(service))
        stop = asyncio.create_task(self._end_when_told(service))
        try:
            ending = await service.launched.ended()
            if ending.why == "lost" and service.launched.pid is not None:
                await end_for_good(service.launched.pid, service.launched.started)
            service.reason = ending.detail or f"it ended with the code {ending.code}"
            self._journal.write("service_ended", service=spec.name, code=ending.code)
        finally:
            service.launched = None
            for task in (checks, stop):
                task.cancel()
            await asyncio.gather(checks, stop, return_exceptions=True)

    def _filled(self, word: str) -> str:
        return word.replace("{bind}", self._bind)

    async def _end_when_told(self, service: _Service) -> None:
        await service.stopping.wait()
        if service.launched is not None:
            service.launched.tell("kill")

    async def _check(self, service: _Service) -> None:
        """Keep asking a service how it is; what never comes up is started anew."""
        began, was_up = now(), False
        host = "127.0.0.1" if self._bind in {"0.0.0.0", "::"} else self._bind  # noqa: S104
        async with httpx.AsyncClient(trust_env=False, timeout=3.0) as http:
            while True:
                said = await _ask(http, host, service.spec)
                if said == "":
                    service.state, service.reason, was_up = ServiceState.UP, "", True
                elif was_up:
                    service.state, service.reason = ServiceState.UNHEALTHY, said
                elif now() - began > service.spec.start_seconds and service.launched is not None:
                    service.reason = f"not up after {service.spec.start_seconds:g} s: {said}"
                    service.launched.tell("kill")
                    return
                else:
                    service.reason = f"not up yet: {said}"
                await asyncio.sleep(
                    self._check_seconds if was_up else min(0.5, self._check_seconds)
                )

    async def _halt(self, service: _Service) -> None:
        service.stopping.set()
        if service.loop is not None:
            await asyncio.gather(service.loop, return_exceptions=True)
            service.loop = None
        service.state, service.reason = ServiceState.STOPPED, ""

    def _wanted(self) -> dict[str, Any]:
        try:
            found = json.loads((self._folder / "wanted.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _want(self, service: _Service, *, wanted: bool) -> None:
        service.wanted = wanted
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / "wanted.draft"
        known = {n: s.wanted for n, s in self._services.items() if s.wanted is not None}
        draft.write_text(json.dumps(known))
        draft.replace(self._folder / "wanted.json")


async def _ask(http: httpx.AsyncClient, host: str, spec: ServiceSpec) -> str:
    """Ask a service how it is; return what is wrong, or nothing."""
    if spec.port is None:
        return ""
    url = f"http://{f'[{host}]' if ':' in host else host}:{spec.port}"
    try:
        if spec.kind == "tcp":
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, spec.port), 3.0)
            writer.close()
            return ""
        path = spec.health or _PATHS.get(spec.kind, "/")
        async with http.stream("GET", url + path) as answer:
            if answer.status_code >= 400:
                return f"it answers with error {answer.status_code}"
            return ""
    except (httpx.HTTPError, OSError, TimeoutError) as error:
        return f"it does not answer ({type(error).__name__})"


def _report(service: _Service) -> ServiceReport:
    spec = service.spec
    return ServiceReport(
        name=spec.name,
        state=service.state,
        kind=spec.kind,
        port=spec.port,
        gpu=spec.gpu,
        pid=service.launched.pid if service.launched else None,
        restarts=service.restarts,
        reason=service.reason[:300],
        autostart=spec.autostart,
    )


def left_behind(journal: Journal) -> Sequence[tuple[int, str]]:
    """Return the processes of services that an earlier agent started and did not see end."""
    found: dict[str, tuple[int, str]] = {}
    for line in journal.read():
        name = str(line.get("service"))
        if line.get("event") == "service_started" and isinstance(line.get("pid"), int):
            found[name] = (line["pid"], str(line.get("started")))
        elif line.get("event") == "service_ended":
            found.pop(name, None)
    return tuple(found.values())
