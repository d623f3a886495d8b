"""A real SMTP server on loopback that keeps what it gets and can misbehave at each step."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Mailbox:
    """What arrived, and how the server behaves."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    data_answer: str = "250 OK"
    """What is said after the message; "stall" never answers, "drop" cuts the connection."""
    drop_at: str = ""
    """MAIL or RCPT: where the connection is cut."""

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.drop_at == "MAIL":
            _cut(server)
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.data_answer == "drop":
            _cut(server)
            return "250 OK"
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        self.recipients.append(list(envelope.rcpt_tos))
        if self.data_answer == "stall":
            await asyncio.Event().wait()
        return self.data_answer


@asynccontextmanager
async def smtp_server(
    *, tls: ssl.SSLContext | None = None, account: tuple[str, str] | None = None
) -> AsyncIterator[Mailbox]:
    """Run a server until the block ends; `tls` offers STARTTLS, `account` asks for a login."""
    mailbox = Mailbox()
    open_ones: list[SMTP] = []

    def allowed(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        right = (data.login.decode(), data.password.decode()) == account
        return AuthResult(success=right, handled=right)

    def made() -> SMTP:
        server = SMTP(
            mailbox,
            hostname="fake.test",
            tls_context=tls,
            authenticator=allowed if account else None,
            auth_required=account is not None,
            auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )
        open_ones.append(server)
        return server

    listening = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    mailbox.port = listening.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        listening.close()
        for server in open_ones:
            handler = getattr(server, "_handler_coroutine", None)
            if server.transport is not None:
                _cut(server)
            if handler is not None:
                handler.cancel()
                await asyncio.gather(handler, return_exceptions=True)


def _cut(server: SMTP) -> None:
    """Cut the connection at once."""
    assert isinstance(server.transport, asyncio.WriteTransport)
    server.transport.abort()
