"""A control plane and an agent over TLS, with certificates of an authority at home."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from nebula.errors import InvalidInput, UpstreamUnavailable
from nebula.services.nodes.client import NodeClient, node_http
from nebula.settings import Settings
from tests.node.agent import AgentProcess, until
from tests.tools.nodes.lab import Lab, open_lab


@dataclass(frozen=True)
class Authority:
    """An authority, and where its certificate and one for this machine lie."""

    ca: trustme.CA
    folder: Path

    @property
    def file(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def words(self) -> tuple[str, ...]:
        """Return what lets an agent listen with a certificate of this authority."""
        return (
            "--tls-cert",
            str(self.folder / "own.pem"),
            "--tls-key",
            str(self.folder / "key.pem"),
        )

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1").configure_cert(context)
        return context


def authority(folder: Path) -> Authority:
    folder.mkdir()
    made = Authority(trustme.CA(), folder)
    made.ca.cert_pem.write_to_path(made.file)
    own = made.ca.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "own.pem"))
    return made


@pytest.fixture
def home(tmp_path: Path) -> Authority:
    return authority(tmp_path / "ours")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return authority(tmp_path / "theirs")


@pytest.fixture
async def lab(settings: Settings, tmp_path: Path, home: Authority) -> AsyncIterator[Lab]:
    trusting = settings.model_copy(update={"node_ca": Path(home.file)})
    async with open_lab(trusting, tmp_path / "machines", home.server()) as opened:
        yield opened


async def test_an_agent_and_its_control_plane_know_each_other_over_tls(
    lab: Lab, home: Authority
) -> None:
    """One machine joins, beats and obeys; what has no key, or a plain voice, is not heard."""
    agent = await lab.agent(words=("--ca", home.file, *home.words))
    assert lab.url.startswith("https://")
    node = await lab.app.parts.nodes.get("pc")
    assert node.url == f"https://127.0.0.1:{agent.port}"
    client = await lab.app.parts.nodes.client("pc")
    assert (await client.metrics()).ram_total
    context = ssl.create_default_context(cafile=home.file)
    async with httpx.AsyncClient(verify=context, trust_env=False) as http:
        beat = f"{lab.url}/api/nodes/pc/heartbeat"
        wrong = {"Authorization": "Bearer somebody-else"}
        assert (await http.get(f"{node.url}/v1/metrics", headers=wrong)).status_code == 401
        assert (await http.post(beat, json={}, headers=wrong)).status_code == 401
        with pytest.raises(httpx.HTTPError):
            await http.get(f"http://127.0.0.1:{agent.port}/v1/metrics")


async def test_a_control_plane_with_an_unknown_certificate_learns_no_token(
    lab: Lab, stranger: Authority
) -> None:
    token = await lab.app.parts.nodes.create_token("admin")
    for trusted in ((), ("--ca", stranger.file)):
        agent = AgentProcess(lab.folder / "pc", lab.url)
        code, said = await agent.join(token.token, *trusted)
        assert code != 0
        assert "does not trust" in said
        assert "--ca" in said
    assert len(await lab.app.parts.nodes.tokens()) == 1, "the token can still be used"


async def test_an_agent_hears_nobody_who_took_the_place_of_its_control_plane(
    lab: Lab, home: Authority, stranger: Authority
) -> None:
    agent = await lab.agent(words=("--ca", home.file))
    await agent.stop()
    identity = (agent.home / "node.json").read_text()
    (agent.home / "node.json").write_text(identity.replace(home.file, stranger.file))
    heard = (await lab.app.parts.nodes.get("pc")).silent_seconds
    await agent.start()
    log = agent.home / "agent.log"
    await until(lambda: "out of touch" in log.read_text(), what="the agent says so")
    later = (await lab.app.parts.nodes.get("pc")).silent_seconds
    assert heard is not None and later is not None and later > heard


async def test_a_machine_with_an_unknown_certificate_learns_no_key(
    stranger: Authority, home: Authority
) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=stranger.server())
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, node_http(None, Path(home.file)) as http:
        with pytest.raises(UpstreamUnavailable, match="do not trust") as refused:
            await NodeClient(http, "pc", url, "the key").metrics()
    assert "JARVIS_NODE_CA" in refused.value.hint
    assert heard in ([], [b""])


async def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    for file in (tmp_path / "none.pem", tmp_path):
        with pytest.raises(InvalidInput, match=file.name):
            async with node_http(None, file):
                pass


@pytest.mark.parametrize("url", ["http://192.0.2.1:8420", "http://jarvis.example"])
async def test_no_machine_joins_over_a_plain_line_to_another_one(url: str, tmp_path: Path) -> None:
    code, said = await AgentProcess(tmp_path / "pc", url).join()
    assert code != 0
    assert "plain HTTP" in said
