"""`jarvis approvals watch`: what waits at any door, asked about as it comes."""

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from rich.text import Text

from nebula.errors import NebulaError
from ui.cli.approve import Answer, ask_at, draw_card
from ui.cli.exits import tell
from ui.cli.keyboard import Keyboard
from ui.cli.operator import operator, people, read_settings
from ui.cli.records import tell_notices
from ui.cli.show import console

if TYPE_CHECKING:
    from nebula.auth.principal import Principal
    from nebula.events.bus import Events
    from nebula.tool.approvals import Approval, Approvals


async def watch() -> None:
    """Ask about everything that waits, then about what comes, until the person leaves."""
    from api.notices import notices_of
    from nebula.events.bus import Events
    from nebula.tool.approvals import Approvals

    async with people() as (auth, database), Events(database) as events:
        tell_notices(await notices_of(database, await operator(auth)))
        approvals = Approvals(database, events, read_settings(), auth)
        with Keyboard().listening() as keyboard:
            await Watch(approvals, await operator(auth), keyboard).until_left(events)


class Watch:
    """The inbox at one keyboard."""

    def __init__(self, approvals: "Approvals", who: "Principal", keyboard: Keyboard) -> None:
        """Take the questions, who answers, and how they say it."""
        self._approvals = approvals
        self._who = who
        self._keyboard = keyboard
        self._passed: set[str] = set()

    async def until_left(self, events: "Events") -> None:
        """Take one question after the other; without a person at the keyboard, only show them."""
        from nebula.tool.approval import STREAM

        after = await events.last(STREAM)
        while True:
            for waiting in reversed(await self._approvals.list(self._who)):
                if waiting.id not in self._passed and not await self._take(waiting):
                    return
            console(error=True).print(Text("Nothing else waits. Ctrl-C leaves.", "dim"))
            after = await self._next(events, after)
            if after < 0:
                return

    async def _take(self, waiting: "Approval") -> bool:
        """Ask about a question; False when the person left."""
        self._passed.add(waiting.id)
        card = waiting.model_dump(mode="json")
        draw_card(card, console(error=True))
        if not sys.stdin.isatty():
            return True
        said = await ask_at(self._keyboard, card, self._answered(waiting.id))
        if isinstance(said, tuple):
            await self._say(waiting.id, *said)
        return said != "left"

    async def _answered(self, approval_id: str) -> dict[str, Any]:
        answered = await self._approvals.until_answered(approval_id, self._who)
        return answered.model_dump(mode="json")

    async def _say(self, approval_id: str, decision: Answer, comment: str) -> None:
        from nebula.auth.principal import Surface

        try:
            await self._approvals.decide(
                approval_id,
                decision=decision,
                by=self._who,
                surface=Surface.TERMINAL,
                comment=comment,
            )
        except NebulaError as error:  # too late, or somebody else must: the next one may do
            tell(error)

    async def _next(self, events: "Events", after: int) -> int:
        """Wait for the next question; return how far the stream was read, -1 when they left."""
        from nebula.tool.approval import STREAM

        async def asked() -> int:
            async for event in events.follow(STREAM, after):
                if event.kind == "approval.requested":
                    return event.seq
            return -1

        coming = asyncio.create_task(asked())
        try:
            while not coming.done():
                if not sys.stdin.isatty():
                    return await coming
                if await self._keyboard.line("", unless=coming) is None and not coming.done():
                    return -1
            return coming.result()
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
