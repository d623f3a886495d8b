"""Sends through apprise, for every service that has no client of its own here."""

import logging
import re

from nebula.markup.mentions import unmentioned
from tools.notify.addresses import instantiate
from tools.notify.schemas import Level, Message, Outcome

_SECONDS = 20.0
_TYPES = {
    Level.ALERT: "failure",
    Level.WARNING: "warning",
    Level.SUCCESS: "success",
    Level.INFO: "info",
}
_NEVER_SENT = re.compile(
    r"ConnectTimeout|NewConnectionError|Connection refused|NameResolutionError|getaddrinfo"
    r"|Name or service not known|SSLError|CERTIFICATE|No route to host",
    re.IGNORECASE,
)
_LOST = re.compile(
    r"Read timed out|ReadTimeout|timed out|Connection aborted|RemoteDisconnected|reset by peer",
    re.IGNORECASE,
)
_STATUS = re.compile(
    r"\berror\s*[=:]\s*(\d{3})\b|\bHTTP (\d{3})\b|\bstatus(?: code)?[ =:]+(\d{3})\b"
)


async def send(address: str, message: Message) -> tuple[Outcome, str]:
    """Hand one message to apprise and read the outcome from what it logs.

    Its logs may hold the address, so nothing of them is passed on but a status number.
    """
    from apprise import Apprise, AppriseAsset, NotifyFormat

    _listen()
    sender = Apprise(asset=AppriseAsset(async_mode=True))
    made = instantiate(address)
    name = str(getattr(made, "service_name", "") or "The service")
    sender.add(made)
    result = await sender.async_notify(
        body=unmentioned(message.text),
        title=unmentioned(message.title),
        # As text: a service that takes HTML gets it escaped.
        body_format=NotifyFormat.TEXT,
        notify_type=_TYPES[message.level],
        timeout=_SECONDS,
        log_level=logging.DEBUG,
    )
    with result:
        if result:
            return Outcome.SENT, f"accepted by {name}"
        if result.timeout_count:
            return Outcome.UNKNOWN, f"{name} did not answer in {_SECONDS:.0f} s"
        return _why(name, "\n".join(entry.message for entry in result.logs()))


def _listen() -> None:
    """Let apprise's details reach its result and no log of ours: they may hold the address."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)


def _why(name: str, logged: str) -> tuple[Outcome, str]:
    if _NEVER_SENT.search(logged):
        return Outcome.FAILED, f"{name} cannot be reached"
    if _LOST.search(logged):
        return Outcome.UNKNOWN, f"{name} did not answer"
    status = _STATUS.search(logged)
    if status is None:
        return Outcome.FAILED, f"{name} did not accept it"
    number = next(group for group in status.groups() if group)
    if number.startswith("5"):
        return Outcome.UNKNOWN, f"{name} had an error ({number})"
    return Outcome.FAILED, f"{name} refused it ({number})"
