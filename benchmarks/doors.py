"""What each door emits for a text that nobody wrote carefully: said by a model, returned by a tool."""

import asyncio
import io
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from email.message import EmailMessage
from typing import Any, Final

import httpx
from rich.text import Text

from benchmarks.corpora import Markup
from graphs.events import (
    DoneEvent,
    ErrorEvent,
    MessageEvent,
    PlanEvent,
    PlanStep,
    StepEvent,
    TokenEvent,
    ToolEvent,
)
from nebula.tool.result import Block, Choices, Image, JobProgress, Markdown, Result, Table
from tests.fakes.discord_webhook import DiscordWebhook
from tests.fakes.smtp import smtp_server
from tests.nebula.markup.oracle import loads
from tools.notify import discord, mail
from tools.notify.addresses import parse
from tools.notify.schemas import Level, Message
from ui.chat.screen import Recording
from ui.chat.turn import Turn
from ui.cli import approve, exits, show
from ui.cli.turn_view import TurnView


class Untrusted(Result):
    """A result whose every kind of block holds the text."""

    text: str

    def render(self) -> Sequence[Block]:
        """Return the text as unescaped Markdown, in cells, labels, pictures and progress."""
        text = self.text
        return [
            Markdown(text=text),
            Table(title=text, columns=[text], rows=[[text]]),
            Image(url=text, alt=text),
            Choices(question=text, options=[(text, text)]),
            JobProgress(job_id="job_1", tool=text, state="running", message=text),
        ]


def events(text: str) -> list[Any]:
    """Return a turn that has the text in every event."""
    blocks = list(Untrusted(text=text).render())
    called = {"call_id": "c", "name": text, "arguments": {text: text}}
    shown = blocks[:4]
    return [
        PlanEvent(steps=[PlanStep(title=text, status="running")]),
        StepEvent(id="s", name=text, status="done", detail=text),
        ToolEvent(**called, status="running", message=text),
        ToolEvent(**called, status="done", blocks=shown),
        ToolEvent(
            **{**called, "call_id": "d"}, status="failed", error={"detail": text, "hint": text}
        ),
        *(TokenEvent(message_id="m", text=text[at : at + 3]) for at in range(0, len(text), 3)),
        MessageEvent(message_id="m", text=text),
        MessageEvent(message_id="n", text="", blocks=shown),
        ErrorEvent(
            error={"detail": text, "hint": text, "fields": [{"field": text, "problem": text}]}
        ),
        DoneEvent(outcome="answered"),
    ]


async def chat(text: str) -> list[str]:
    """Return what the web page would load, at any moment of the turn."""
    found: list[str] = []

    class Watched(Recording):
        async def step(self, step: dict[str, Any]) -> None:
            await super().step(step)
            self.look(step["id"])

        async def token(self, step_id: str, text: str) -> None:
            await super().token(step_id, text)
            self.look(step_id)

        def look(self, step_id: str) -> None:
            output = str(self._steps[step_id].get("output", ""))
            # Half-written HTML is text to the page, which takes none: pictures are what counts.
            if "![" in output:
                found.extend(thing for thing in loads(output) if thing.startswith("<img src="))

    screen = Watched()
    turn = Turn(screen, run_id="run")
    await turn.begin()
    for event in events(text):
        await turn.show(event)
    for step in screen.steps:
        found.extend(loads(step.get("output", "")))
        found.extend(signs(step["name"]))
    for element in screen.elements:
        if element["type"] == "tasklist":
            from urllib.parse import unquote

            document = json.loads(unquote(element["url"].partition(",")[2]))
            found.extend(thing for task in document["tasks"] for thing in loads(task["title"]))
        elif element["type"] == "image":
            found.append(f"<img src={element['url']}>")
    return found


async def terminal(text: str) -> list[str]:
    """Return the commands and hidden signs that reach the terminal."""
    out = io.StringIO()
    console = show.PlainConsole(file=out, markup=False, emoji=False, highlight=False, width=120)
    view = TurnView(console)
    for event in events(text):
        view.show(event)
    show.show_blocks(Untrusted(text=text).render(), console)
    console.print(text)
    console.print(Text(text))
    approve.draw_card(
        {"tool": text, "effect": text, "arguments": {text: text}, "reason": text, "id": text}
        | {"expires_at": "soon"},
        console,
    )
    return signs(out.getvalue()) + _hyperlinks(out.getvalue()) + signs(exits.written(text, text))


async def mcp(text: str) -> list[str]:
    """Return what a client that draws Markdown would load, and the signs it would obey."""
    from api.mcp import text_of

    shown = text_of(Untrusted(text=text))
    return loads(shown) + signs(shown)


async def to_discord(text: str) -> list[str]:
    """Return mentions, masked links and texts with previews in the payload on the wire."""
    fake = DiscordWebhook()
    application: Any = fake
    message = _message(text)
    webhook = parse(fake.url).webhook
    assert webhook is not None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application)) as http:
        await discord.post(http, webhook, message)
    (payload,) = fake.posted
    found = [] if payload["allowed_mentions"] == {"parse": []} else ["mentions are allowed"]
    if "content" in payload:
        found.append("a text that is previewed")
    return found + pings(json.dumps(payload["embeds"], ensure_ascii=False))


async def to_mail(text: str) -> list[str]:
    """Return what a mail program would load, and headers that nobody meant."""
    async with smtp_server() as box:
        address = f"mailto://127.0.0.1:{box.port}?from=jarvis@lab.test&to=ann@lab.test"
        mailbox = parse(address).mailbox
        assert mailbox is not None
        await asyncio.to_thread(mail.send, mailbox, _message(text))
    (letter,) = box.mails
    html = letter.get_body(("html",))
    assert isinstance(html, EmailMessage)
    from tests.nebula.markup.oracle import loads_html

    found = loads_html(html.get_content()) + signs(str(letter["Subject"]))
    known = {"Subject", "From", "To", "Date", "Message-ID", "MIME-Version", "Content-Type"}
    return found + [name for name in dict(letter) if name not in known]


def _message(text: str) -> Message:
    body = f"{text}\n- {text}: {text}"
    return Message(title=text[:250], body=text, text=body, level=Level.INFO, fields={text: text})


_LINK = re.compile(r"\x1b\]8;")
_PING = re.compile(
    r"@(everyone|here|channel|all\b|room\b)|<[@#!/:][^\u200b]|<(a|t|id|sound):|\]\(|<https?:[^>\s]*\|",
    re.IGNORECASE,
)
_OBEYED: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e-\u200f\u2028-\u202e\u2060-\u206f]"
)


def signs(text: str) -> list[str]:
    """Return the signs in a text that a terminal obeys or a reader cannot see."""
    return [repr(found) for found in _OBEYED.findall(text)]


def _hyperlinks(text: str) -> list[str]:
    return _LINK.findall(text)


def pings(text: str) -> list[str]:
    """Return the mentions, commands and masked links that a messenger would find."""
    return [found[0] for found in _PING.finditer(text)]


DOORS: Final[dict[str, Callable[[str], Awaitable[list[str]]]]] = {
    "chat": chat,
    "terminal": terminal,
    "MCP": mcp,
    "Discord": to_discord,
    "e-mail": to_mail,
}


async def hits(door: str, forms: Sequence[Markup]) -> dict[str, list[str]]:
    """Return by form what came through a door; empty when all of it was neutral."""
    found = await asyncio.gather(*(DOORS[door](form.text) for form in forms))
    return {form.name: things for form, things in zip(forms, found, strict=True) if things}
