"""Everything that can open a connection outwards is known, with the reason why it may."""

import ast
import re

from docs.generate import ROOT

_OPENS = re.compile(
    r"(^|\.)(AsyncClient|Client|HttpClient|make_http|SafeFetch|AsyncHTTPTransport|HTTPTransport|urlopen"
    r"|urlretrieve|ClientSession|Session|SMTP|SMTP_SSL|FTP|Telnet|HTTPConnection|HTTPSConnection"
    r"|open_connection|open_unix_connection|create_connection|create_datagram_endpoint|socket"
    r"|getaddrinfo|gethostbyname|Apprise|Apprise\.instantiate|AsyncOpenAI|OpenAI|ChatOpenAI|ChatOllama|from_url|HfApi"
    r"|hf_hub_download|snapshot_download|S3Store|GCSStore|HTTPStore|ServerProxy|clone_from|Repo"
    r"|create_subprocess_exec|create_subprocess_shell|Popen|check_output|check_call)$"
    r"|^(subprocess\.run|requests\.(get|post|put|patch|delete|head|request)|os\.(system|popen)|httpx\.(get|post|put|patch|delete|head|request|stream))$"
)

_WORTH_READING = re.compile(
    r"[Cc]lient|http|fetch|url|[Ss]ession|smtp|FTP|Telnet|socket|connection|connect|addr|host"
    r"|[Aa]pprise|OpenAI|Ollama|Store|Proxy|clone|Repo|subprocess|Popen|system"
)

ALLOWED = {
    # the two clients: addresses of settings and the map; addresses that a model chose
    ("nebula/assembly.py", "make_http"): "the client for addresses from settings and the map",
    ("nebula/assembly.py", "SafeFetch"): "the guarded client for addresses that a model chose",
    ("nebula/http.py", "HttpClient"): "those two are made here",
    ("nebula/http.py", "loop.getaddrinfo"): "SafeFetch looks up once, then checks what it found",
    # addresses that an operator wrote
    ("nebula/llm/ollama.py", "HttpClient"): "OLLAMA_HOST",
    ("nebula/llm/ollama.py", "ChatOllama"): "OLLAMA_HOST, over the client above",
    ("nebula/llm/openai.py", "HttpClient"): "OPENAI_BASE_URL",
    (
        "nebula/llm/openai.py",
        "httpx.Client",
    ): "never used: it keeps the library from making its own",
    ("nebula/llm/openai.py", "ChatOpenAI"): "OPENAI_BASE_URL, over the client above",
    ("nebula/gpu/check/engine.py", "httpx.AsyncClient"): "a place of its own on loopback",
    ("nebula/services/health.py", "asyncio.open_connection"): "services of the map",
    ("nebula/services/nodes/client.py", "httpx.AsyncClient"): "machines that a person let join",
    ("nebula/services/nodes/wake.py", "socket.socket"): "a broadcast to a node's hardware address",
    ("nebula/tool/limits.py", "Redis.from_url"): "REDIS_URL",
    ("tools/notify/addresses.py", "Apprise.instantiate"): "reads an address; nothing is contacted",
    ("tools/notify/others.py", "Apprise"): "channels are set by people only",
    ("tools/notify/mail.py", "smtplib.SMTP"): "channels are set by people only",
    ("tools/notify/mail.py", "smtplib.SMTP_SSL"): "channels are set by people only",
    # git, pinned to an address that was checked
    ("knowledge/load/repository.py", "loop.getaddrinfo"): "looked up once, then checked",
    ("knowledge/load/way.py", "asyncio.open_connection"): "that address, for a clone",
    ("knowledge/load/way.py", "asyncio.create_subprocess_exec"): "ssh, pinned to that address",
    # this machine and this program
    ("ui/cli/conversation.py", "httpx.AsyncClient"): "the server of this data folder",
    ("ui/cli/doctor.py", "httpx.AsyncClient"): "looks at the addresses of the settings",
    ("ui/cli/doctor.py", "socket.socket"): "is the port free",
    ("ui/cli/up.py", "socket.socket"): "is the port free",
    ("ui/cli/node.py", "subprocess.run"): "this interpreter, as the node agent",
    (
        "knowledge/load/isolated.py",
        "asyncio.create_subprocess_exec",
    ): "this interpreter, reading a file",
    ("nebula/gpu/check/child.py", "asyncio.create_subprocess_exec"): "this interpreter, on a card",
    ("nebula/gpu/check/run.py", "socket.socket"): "a free port on loopback",
    (
        "nebula/db/dump.py",
        "asyncio.create_subprocess_exec",
    ): "pg_dump and pg_restore, to the database of the settings",
    ("nebula/db/pg_programs.py", "subprocess.run"): "PostgreSQL's programs, on a private socket",
    ("nebula/db/unprivileged.py", "subprocess.run"): "makes the account PostgreSQL runs as",
    ("nebula/db/valkey.py", "subprocess.Popen"): "Valkey, on a private socket",
    ("nebula/sandbox/layers.py", "subprocess.run"): "asks bubblewrap what it can do",
    (
        "nebula/sandbox/run.py",
        "asyncio.create_subprocess_exec",
    ): "bubblewrap: no network unless asked",
    # the agent of another machine, which its owner set up
    ("node/__main__.py", "socket.socket"): "is the port free",
    ("node/autostart.py", "subprocess.run"): "systemctl or schtasks",
    ("node/control.py", "httpx.AsyncClient"): "the control plane that its owner named",
    ("node/deploy.py", "subprocess.run"): "recipes and commands of its owner",
    (
        "node/detect/network.py",
        "socket.socket",
    ): "which of its addresses leads out; nothing is sent",
    ("node/detect/run.py", "subprocess.run"): "programs that describe the machine",
    ("node/detect/services.py", "httpx.AsyncClient"): "services on the machine itself",
    ("node/fetch.py", "httpx.Client"): "releases that its recipes name, over https",
    ("node/launch.py", "asyncio.create_subprocess_exec"): "services and commands of its owner",
    ("node/process/windows.py", "subprocess.run"): "taskkill",
    ("node/supervisor.py", "httpx.AsyncClient"): "services on the machine itself",
    ("node/supervisor.py", "asyncio.open_connection"): "services on the machine itself",
    ("node/warden.py", "subprocess.Popen"): "the program it watches over",
}

PLAIN_CLIENT = {
    "nebula/tool/context.py": "hands it out",
    "tools/discord/client.py": "Discord's REST of the settings, with the bot's token",
    "tools/models/fetching.py": "Ollama and image servers of the map",
    "tools/models/hubs.py": "the hubs of the settings; files come through SafeFetch",
    "tools/models/inventory.py": "Ollama and image servers of the map",
    "tools/models/removal.py": "Ollama of the map",
    "tools/notify/tools.py": "Discord's own host, with the webhook a person set",
    "tools/setup/tools.py": "does the address that a person just confirmed answer",
}
"""Who uses the client without the guard, and for which addresses."""

FOLDERS = ("node", "nebula", "tools", "agents", "graphs", "memory", "knowledge", "api", "ui")


def _called(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_called(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def _trees() -> list[tuple[str, ast.Module]]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = [(str(path.relative_to(ROOT)), path.read_text()) for path in paths]
    return [(path, ast.parse(text)) for path, text in texts if _WORTH_READING.search(text)]


def test_every_way_out_is_known_and_has_a_reason() -> None:
    found = {
        (path, _called(node.func))
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _OPENS.search(_called(node.func))
    }
    assert ("nebula/assembly.py", "SafeFetch") in found
    new = sorted(found - ALLOWED.keys())
    assert not new, f"use ctx.http for addresses of settings, else app.fetch; or say why: {new}"
    assert sorted(ALLOWED.keys() - found) == [], "gone from the code, so take it out here too"


def test_features_use_the_plain_client_for_known_addresses_only() -> None:
    found = {
        path
        for path, tree in _trees()
        if path.startswith(("tools/", "graphs/", "knowledge/", "api/", "ui/", "nebula/tool/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "http"
        and _called(node.value).split(".")[-1] in {"ctx", "_ctx", "parts", "app"}
    }
    assert sorted(found) == sorted(PLAIN_CLIENT)
