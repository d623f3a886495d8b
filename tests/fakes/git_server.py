"""Serves repositories over HTTP with git's own server program, as a forge does."""

import asyncio
import os
from pathlib import Path
from typing import Any


class GitServer:
    """An ASGI application over `git http-backend`; `seen` holds the paths that were asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.seen.append(scope["path"])
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        head, _, content = (await self._backend(scope, body)).partition(b"\r\n\r\n")
        headers = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")]
        status = next((int(value[:3]) for name, value in headers if name == b"Status"), 200)
        kept = [(name.lower(), value) for name, value in headers if name != b"Status"]
        await send({"type": "http.response.start", "status": status, "headers": kept})
        await send({"type": "http.response.body", "body": content})

    async def _backend(self, scope: Any, body: bytes) -> bytes:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"], "HOME": str(self.root),
                "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": headers.get("git-protocol", ""),
                "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REQUEST_METHOD": scope["method"], "PATH_INFO": scope["path"],
                "QUERY_STRING": scope["query_string"].decode(),
                "CONTENT_TYPE": headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            },
        )  # fmt: skip
        answer, _ = await process.communicate(body)
        return answer
