"""Logs in a ring, the owner's config, downloads of recipes, and addresses that may be told secrets."""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from node import fetch, ring
from node.config import Home, Identity
from node.control import checked_control
from node.documents import read, write
from node.errors import BadConfig, BadRequest, NotAllowed
from node.protocol import Heartbeat, Metrics, TaskRequest
from node.server import checked_bind


def test_a_log_keeps_its_newest_pieces_and_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    log = ring.RingWriter(tmp_path, piece=100, pieces=3)
    after, seen = 0, []
    for number in range(50):
        log.write(f"line {number:03d}\n".encode())
        if number % 7 == 0:
            lines, after, skipped = ring.read(tmp_path, after, whole=False)
            seen += lines
            assert not skipped
    lines, after, _ = ring.read(tmp_path, after, whole=True)
    assert [*seen, *lines] == [f"line {n:03d}" for n in range(50)]
    assert len(list(tmp_path.glob("log.*"))) == 3
    kept, _, skipped = ring.read(tmp_path, 0, whole=True)
    assert skipped and kept[-1] == "line 049" and "line 000" not in kept
    assert ring.tail(tmp_path, 2)[0] == ("line 048", "line 049")
    log.close()
    again = ring.RingWriter(tmp_path, piece=100, pieces=3)
    again.write(b"after a restart\n")
    assert ring.read(tmp_path, after, whole=True)[0] == ("after a restart",)
    again.close()


def test_a_line_that_is_not_finished_is_kept_back_and_progress_bars_show_their_end(
    tmp_path: Path,
) -> None:
    log = ring.RingWriter(tmp_path)
    log.write(b"10 %\r20 %\r30 %\nhal")
    lines, after, _ = ring.read(tmp_path, 0, whole=False)
    assert lines == ("30 %",)
    log.write(b"f\xff\n")
    assert ring.read(tmp_path, after, whole=False)[0] == ("half\ufffd",)
    log.close()


def identity() -> Identity:
    return Identity("pc", "http://127.0.0.1", "s", "d", "127.0.0.1", 1, "http://127.0.0.1:1")


def test_the_identity_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "agent")
    with pytest.raises(BadConfig, match="not joined"):
        home.identity()
    home.keep(identity())
    assert home.identity() == identity()
    assert stat.S_IMODE(home.identity_file.stat().st_mode) == 0o600
    home.identity_file.write_text("{}")
    with pytest.raises(BadConfig, match="damaged"):
        home.identity()


@pytest.mark.parametrize(
    "text",
    ["commands: [", "commands: {a: 1}", "commands: {a: {}}", "commands: {a: {argv: rm}}",
     "commands: {'a b': {argv: [x]}}", "commands: {a: {argv: [x], args_pattern: '('}}", "- a",
     "services: {a: {argv: [x], port: high}}"],
)  # fmt: skip
def test_a_mistake_in_the_config_is_told_and_nothing_of_it_is_taken(
    tmp_path: Path, text: str
) -> None:
    home = Home(tmp_path)
    home.config_file.write_text(text)
    with pytest.raises(BadConfig):
        home.config()


def test_the_first_config_of_a_machine_allows_commands_that_only_look(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_example()
    config = home.config()
    assert set(config.commands) == {"disk", "uptime", "nvidia-smi"}
    with pytest.raises(NotAllowed):
        config.command("disk").with_args(("/",))
    home.config_file.write_text("commands: {}")
    home.write_example()
    assert home.config().commands == {}, "the owner's own file is left alone"


def test_documents_are_read_strictly_and_unknown_keys_are_left_out() -> None:
    beat = Heartbeat(nonce="n", metrics=Metrics(cpu=0.5))
    assert read(Heartbeat, json.loads(json.dumps(write(beat))) | {"newer": 1}) == beat
    for wrong in ({}, {"task_id": 1, "command": "x"}, {"task_id": "x", "command": "x", "args": "y"},
                  {"task_id": "x", "command": "x", "token": True}, [], None):  # fmt: skip
        with pytest.raises(BadRequest):
            read(TaskRequest, wrong)


@pytest.mark.parametrize("url", ["http://192.168.1.5", "http://jarvis.lan", "ftp://x", "http://", "x",
                                 "http://127.0.0.1.example.org", "https://user@x"])  # fmt: skip
def test_secrets_are_not_sent_where_others_could_overhear_them(url: str) -> None:
    with pytest.raises(BadRequest):
        checked_control(url)


def test_tls_tailscale_and_loopback_will_do() -> None:
    for url in ("https://jarvis.example/", "http://100.64.0.9:8420", "http://127.0.0.1:8420"):
        assert checked_control(url) == url.rstrip("/")
    assert checked_bind("0.0.0.0", tls=True) == "0.0.0.0"
    for open_to_all in ("0.0.0.0", "192.168.1.5", "::"):
        with pytest.raises(BadRequest):
            checked_bind(open_to_all, tls=False)


def test_an_archive_that_leads_outside_its_folder_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "x"
    inner.write_text("evil")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(inner, arcname="../outside")
    with pytest.raises(tarfile.TarError):
        fetch.unpack(tmp_path / "a.tar", tmp_path / "to")
    assert not (tmp_path / "outside").exists()


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., str]:
    import http.server
    import threading

    content = os.urandom(300_000)

    class Cutting(http.server.BaseHTTPRequestHandler):
        cuts = 2

        def do_GET(self) -> None:
            begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            end = begin + 100_000 if Cutting.cuts else len(content)
            Cutting.cuts = max(0, Cutting.cuts - 1)
            self.wfile.write(content[begin:end])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cutting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/big.bin"

    def close() -> None:
        server.shutdown()
        server.server_close()

    return lambda: (url, hashlib.sha256(content).hexdigest(), close)  # type: ignore[return-value]


def test_a_download_goes_on_where_the_connection_broke_and_is_checked(
    tmp_path: Path, served: Callable[[], tuple[str, str, Callable[[], None]]]
) -> None:
    url, sha256, close = served()
    file = tmp_path / "big.bin"
    try:
        fetch.download(url, file, sha256=sha256)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256
        with pytest.raises(fetch.Failed, match="not what was published"):
            fetch.download(url, tmp_path / "again.bin", sha256="0" * 64)
        with pytest.raises(fetch.Failed, match="not https"):
            fetch.download("http://example.org/x", tmp_path / "x")
    finally:
        close()
    assert not (tmp_path / "again.bin").exists()
