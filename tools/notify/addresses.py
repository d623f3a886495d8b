"""Reads a channel's address: which kind it is, and what of it may be shown."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nebula.errors import InvalidInput
from tools.notify.schemas import Kind

_DISCORD_HOSTS = {"discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com"}
_WEBHOOK = re.compile(r"^/api/(?:v\d+/)?webhooks/(\d+)/([\w-]+)/?$")
_SHORT = re.compile(r"^discord://(?:[^/@]*@)?(\d+)/([\w-]+)/?(?:\?.*)?$")
_HOST = re.compile(r"^(?:[a-z0-9-]+\.)+[a-z0-9-]+$|^localhost$", re.IGNORECASE)
_MAIL = {"smtp": "mailto", "smtps": "mailtos", "mailto": "mailto", "mailtos": "mailtos"}


@dataclass(frozen=True)
class Webhook:
    """A Discord webhook."""

    id: str
    token: str

    @property
    def url(self) -> str:
        """Return the address to post to; it holds the secret."""
        return f"https://discord.com/api/webhooks/{self.id}/{self.token}"


@dataclass(frozen=True)
class Mailbox:
    """A mail server with its account, and who gets the mail."""

    host: str
    port: int
    security: str
    """insecure, starttls or ssl."""
    verify: bool
    user: str
    password: str
    sender: str
    visible: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    """Blind copies: they get the mail and stand in no header."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """Return everybody who gets the mail."""
        return tuple(dict.fromkeys([*self.visible, *self.hidden]))


@dataclass(frozen=True)
class Address:
    """A parsed address."""

    kind: Kind
    shown: str
    webhook: Webhook | None = None
    mailbox: Mailbox | None = None


def parse(address: str) -> Address:
    """Read an address; nothing is contacted.

    Raises:
        InvalidInput: when it is no address of a known form; the message never repeats it.
    """
    text = address.strip()
    if not text or any(ord(character) < 32 for character in text):
        raise InvalidInput("The address is empty or holds control characters")
    webhook = _webhook(text)
    if webhook is not None:
        shown = f"Discord webhook …{webhook.id[-4:]}"
        return Address(Kind.DISCORD, shown, webhook=webhook)
    scheme = text.partition("://")[0].lower()
    if scheme in _MAIL:
        mailbox = _mailbox(f"{_MAIL[scheme]}://{text.partition('://')[2]}")
        shown = f"{', '.join(mailbox.visible)} via {mailbox.host}"
        return Address(Kind.EMAIL, shown, mailbox=mailbox)
    made = instantiate(text)
    name = str(getattr(made, "service_name", "") or scheme)
    host = str(getattr(made, "host", None) or "")
    # Many services carry their token where others have a host: only a real host is shown.
    return Address(Kind.OTHER, f"{name} at {host}" if _HOST.match(host) else name)


def instantiate(address: str) -> Any:
    """Return apprise's sender for an address.

    Raises:
        InvalidInput: when apprise does not know its form.
    """
    from apprise import Apprise

    made = Apprise.instantiate(address, suppress_exceptions=True)
    if made is None:
        raise InvalidInput(
            "That is no address of a notification service",
            hint="Give a Discord webhook URL, mailtos://user:password@host?to=…, or an apprise URL.",
        )
    return made


def _webhook(text: str) -> Webhook | None:
    short = _SHORT.match(text)
    if short is not None:
        return Webhook(short[1], short[2])
    parts = urlsplit(text)
    if parts.scheme != "https" or (parts.hostname or "") not in _DISCORD_HOSTS:
        return None
    found = _WEBHOOK.match(parts.path)
    if found is None:
        raise InvalidInput(
            "That is a Discord address, but no webhook",
            hint="Copy it in Discord: channel settings, Integrations, Webhooks, Copy Webhook URL.",
        )
    return Webhook(found[1], found[2])


def _mailbox(address: str) -> Mailbox:
    made = instantiate(address)
    visible = [email for _, email in made.targets] + sorted(made.cc)
    if not visible:
        raise InvalidInput("The e-mail address names nobody to write to", hint="Add ?to=….")
    return Mailbox(
        host=str(made.smtp_host),
        port=int(made.port),
        security=str(made.secure_mode),
        verify=bool(made.verify_certificate),
        user=str(made.user or ""),
        password=str(made.password or ""),
        sender=str(made.from_addr[1]),
        visible=tuple(visible),
        hidden=tuple(sorted(made.bcc)),
    )
