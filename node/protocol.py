"""What the agent and the control plane say to each other; plain data, and nothing of ours imported.

Sizes are bytes, times seconds, rates 0..1; None means unknown. A token is the fencing token of a
lease: it grows with every lease of a card, so that a lower one belongs to the past.
"""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

VERSION: Final = 1
NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
TASK_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
DEFAULT_PORT: Final = 8431
HEARTBEAT_SECONDS: Final = 1.5
MAX_BODY: Final = 1024 * 1024


class TaskState(StrEnum):
    """Where a task is; every state but the first two is final."""

    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    KILLED = "killed"
    FENCED = "fenced"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """Say whether nothing of it runs any more."""
        return self not in {TaskState.STARTING, TaskState.RUNNING}


class ServiceState(StrEnum):
    """How a supervised service is."""

    STOPPED = "stopped"
    STARTING = "starting"
    UP = "up"
    UNHEALTHY = "unhealthy"
    WAITING = "waiting"
    """It ended and is started again after a pause."""
    FAILED = "failed"
    """It ended too often and is left alone."""


@dataclass(frozen=True)
class CardProcess:
    """A process on a card; `port` is that of the known service it belongs to, `task` ours."""

    pid: int
    name: str | None = None
    vram: int | None = None
    port: int | None = None
    task: str | None = None


@dataclass(frozen=True)
class Card:
    """One graphics card, by the number its driver gives it."""

    index: int
    name: str | None = None
    vendor: str = "nvidia"
    driver: str | None = None
    vram_total: int | None = None
    vram_used: int | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    processes: tuple[CardProcess, ...] = ()


@dataclass(frozen=True)
class Disk:
    """A file system; the first one is where the agent keeps its data."""

    path: str
    total: int
    free: int


@dataclass(frozen=True)
class FoundService:
    """An AI service that answers on its usual port; `reachable` on the agent's own address too."""

    kind: str
    port: int
    reachable: bool = False


@dataclass(frozen=True)
class Hardware:
    """What a machine is made of."""

    hostname: str
    os: str
    os_version: str = ""
    architecture: str = ""
    python: str = ""
    cpu: str = ""
    cores: int | None = None
    threads: int | None = None
    ram: int | None = None
    disks: tuple[Disk, ...] = ()
    cards: tuple[Card, ...] = ()
    cuda: str | None = None
    rocm: str | None = None
    tailscale: str | None = None
    mac: str | None = None
    broadcast: str | None = None
    """The address that reaches everybody on its network, for waking others."""
    notes: tuple[str, ...] = ()
    """What could not be found out, and why."""


@dataclass(frozen=True)
class Metrics:
    """How busy a machine is."""

    cpu: float | None = None
    ram_used: int | None = None
    ram_total: int | None = None
    disk_free: int | None = None
    cards: tuple[Card, ...] = ()


@dataclass(frozen=True)
class TaskReport:
    """One task as its agent sees it; times are the node's own clock, in seconds since 1970."""

    id: str
    command: str
    state: TaskState
    gpu: int | None = None
    token: int | None = None
    exit_code: int | None = None
    reason: str = ""
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True)
class ServiceReport:
    """One service that the agent looks after."""

    name: str
    state: ServiceState
    kind: str = "http"
    port: int | None = None
    gpu: int | None = None
    pid: int | None = None
    restarts: int = 0
    reason: str = ""
    autostart: bool = False


@dataclass(frozen=True)
class JoinRequest:
    """A machine that wants to belong; `url` is where its agent answers."""

    token: str
    name: str
    url: str
    hardware: Hardware
    found: tuple[FoundService, ...] = ()
    version: int = VERSION


@dataclass(frozen=True)
class Joined:
    """What a machine gets: its own secret, and the key that the control plane will show it."""

    node: str
    secret: str
    key: str


@dataclass(frozen=True)
class Heartbeat:
    """What an agent tells every other second; `hardware` only when it changed."""

    nonce: str
    metrics: Metrics
    tasks: tuple[TaskReport, ...] = ()
    services: tuple[ServiceReport, ...] = ()
    found: tuple[FoundService, ...] = ()
    commands: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    hardware: Hardware | None = None
    url: str | None = None
    version: int = VERSION


@dataclass(frozen=True)
class Renewal:
    """A lease that holds for `seconds` more, counted from when the heartbeat was sent."""

    gpu: int
    token: int
    seconds: float


@dataclass(frozen=True)
class HeartbeatAnswer:
    """Every lease of the node that holds now; what is not listed has ended."""

    proof: str
    leases: tuple[Renewal, ...] = ()
    interval: float = HEARTBEAT_SECONDS


@dataclass(frozen=True)
class TaskRequest:
    """Work to be started: an allow-listed command by its name. The same id starts it once.

    `gpu` and `token` name the lease; `lease_seconds` is how long the work may go on without an
    answered heartbeat when there is no lease. `vram` and `job` are kept in the journal.
    """

    task_id: str
    command: str
    args: tuple[str, ...] = ()
    gpu: int | None = None
    token: int | None = None
    lease_seconds: float | None = None
    vram: int | None = None
    job: str | None = None


@dataclass(frozen=True)
class TaskView:
    """A task and a piece of its log; ask again with `after=next`."""

    task: TaskReport
    lines: tuple[str, ...] = ()
    next: int = 0
    skipped: bool = False
    """Older lines than these were dropped already."""


@dataclass(frozen=True)
class LogView:
    """A piece of a service's log."""

    name: str
    lines: tuple[str, ...] = ()
    next: int = 0


@dataclass(frozen=True)
class CommandInfo:
    """A command of the node's allow-list; `extra_args` says whether a caller may add words."""

    name: str
    argv: tuple[str, ...]
    description: str = ""
    extra_args: bool = False
    uses_gpu: bool = False


@dataclass(frozen=True)
class RecipeInfo:
    """A service that this agent knows how to install."""

    name: str
    kind: str
    version: str
    disk: int
    vram: int
    installed: bool = False


@dataclass(frozen=True)
class Problem:
    """Every error of the agent: a code, a sentence, and the next step."""

    code: str
    detail: str
    hint: str = ""


def digest(secret: str) -> str:
    """Return the form in which a side keeps the secret that the other side shows (SHA-256)."""
    return sha256(secret.encode()).hexdigest()


def proof(key_digest: str, nonce: str) -> str:
    """Return what proves to an agent that an answer comes from the holder of its key (HMAC)."""
    return hmac.new(key_digest.encode(), nonce.encode(), "sha256").hexdigest()


def magic_packet(mac: str) -> bytes:
    """Return the packet that wakes a card: six times FF, sixteen times its MAC.

    Raises ValueError when that is no MAC. Source: AMD, Magic Packet Technology, 1995.
    """
    raw = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    if len(raw) != 6:
        raise ValueError(f"{mac!r} is no MAC address")
    return b"\xff" * 6 + raw * 16
