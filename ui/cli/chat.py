"""`jarvis chat`: a conversation, with approvals asked inline and Ctrl-C to stop a turn."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from rich.text import Text

from nebula.errors import NebulaError
from ui.cli.approve import ask_at, draw_card
from ui.cli.conversation import Conversation, open_conversation
from ui.cli.exits import tell
from ui.cli.keyboard import Keyboard
from ui.cli.show import console
from ui.cli.turn_view import TurnView

if TYPE_CHECKING:
    from graphs.events import ChatEvent

_LEAVE = {"exit", "quit", "bye", "/exit", "/quit"}


async def chat(message: str = "", session_id: str | None = None, *, read_only: bool = False) -> str:
    """Talk until the person leaves; with a message, one turn. Return the last turn's outcome."""
    async with open_conversation() as conversation:
        if read_only and session_id is None:
            session_id = await conversation.begin_read_only()
        with Keyboard().listening() as keyboard:
            talk = Talk(conversation, keyboard, session_id)
            return await (talk.once(message) if message else talk.until_left())


class Talk:
    """One conversation at one keyboard."""

    def __init__(
        self, conversation: Conversation, keyboard: Keyboard, session_id: str | None
    ) -> None:
        """Take up a session, or begin one with the first message."""
        self._conversation = conversation
        self._keyboard = keyboard
        self._session_id = session_id

    async def until_left(self) -> str:
        """Take messages until the person leaves."""
        if sys.stdin.isatty():
            where = self._conversation.where
            console().print(Text(f"Talking to Jarvis {where}. Leave with 'exit'.", "dim"))
        outcome = "answered"
        while (said := await self._keyboard.line("› ")) is not None:
            if said.strip().lower() in _LEAVE:
                break
            if said.strip():
                try:
                    outcome = await self.once(said)
                except NebulaError as error:
                    tell(error)
                    outcome = "failed"
        return outcome

    async def once(self, said: str) -> str:
        """Run one turn to its end, through as many decisions as it needs."""
        view = await self._show(self._conversation.send(said, self._session_id))
        while view.outcome == "waiting" and view.approvals:
            if not sys.stdin.isatty():
                for approval_id in view.approvals:
                    console(error=True).print(f"Waiting: jarvis approvals approve {approval_id}")
                break
            if not await self._decide(view.approvals) or self._session_id is None:
                break
            started = view.jobs
            view = await self._show(self._conversation.resume(self._session_id))
            view.jobs[:0] = started
        if view.jobs and sys.stdin.isatty():
            await self._follow(view.jobs)
        return view.outcome

    async def _follow(self, jobs: list[str]) -> None:
        """Draw what the turn's jobs do, until they end or the person leaves them to themselves."""
        from ui.cli.job_screen import show_end
        from ui.cli.jobs import until_the_end

        async with self._conversation.desk() as desk:
            for job_id in jobs:
                job = await until_the_end(desk, job_id, self._keyboard)
                if job is not None:
                    show_end(desk, job)

    async def _decide(self, approvals: list[str]) -> bool:
        """Ask about each; False when the person left without an answer."""
        for approval_id in approvals:
            card = await self._conversation.card(approval_id)
            if card["state"] != "pending":
                continue
            draw_card(card, console(error=True))
            if not await self._answer(card):
                return False
        return True

    async def _answer(self, card: Mapping[str, Any]) -> bool:
        """Ask until there is an answer, here or at another door; False when the person left."""
        answered = self._conversation.answered(card["id"])
        said = await ask_at(self._keyboard, card, answered)
        if isinstance(said, tuple):
            await self._conversation.decide(card["id"], *said)
        return said != "left"

    async def _show(self, events: "AsyncGenerator[ChatEvent, None]") -> TurnView:
        """Draw a turn's events; Ctrl-C stops the turn, not the chat."""
        view = TurnView(console())
        stops: list[asyncio.Task[None]] = []

        def stop() -> None:
            if self._session_id is not None and not stops:
                stops.append(asyncio.create_task(self._conversation.cancel(self._session_id)))

        with self._keyboard.stopping(stop):
            async with aclosing(events):
                async for event in events:
                    view.show(event)
                    self._session_id = view.session_id or self._session_id
        await asyncio.gather(*stops)
        if view.outcome == "cancelled":
            console(error=True).print("Stopped.", style="dim")
        return view
