"""What one turn says, kept so that any number of readers can follow it from the start."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from graphs.events import (
    ChatEvent,
    DoneEvent,
    MessageEvent,
    PlanEvent,
    PlanStep,
    TokenEvent,
    ToolEvent,
)
from graphs.jarvis.plan import Plan
from memory.sessions import PlanLine, ToolCallRecord
from memory.turns import Answer, Turn
from nebula.secrets.redact import LIVE


class TurnStream:
    """The numbered events of one turn."""

    def __init__(self, turn: Turn, owner: str) -> None:
        """Take the turn and whose it is."""
        self.turn = turn
        self.owner = owner
        self.closed = False
        self._events: list[ChatEvent] = []
        self._published = 0
        self._told = 0
        self._grown = asyncio.Event()
        self._plan = Plan()
        self._steps: list[PlanStep] = []
        self._messages: dict[str, MessageEvent] = {}
        self._calls: dict[str, ToolEvent] = {}
        self._streamed: dict[str, str] = {}

    def emit(self, event: ChatEvent) -> None:
        """Number an event and hand it to whoever listens."""
        if self.closed:
            return
        # What was said before it became a secret is not told again.
        event = LIVE.model(event)
        if isinstance(event, PlanEvent):
            event = self._plan.say(event.steps)
        self._append(event)
        if isinstance(event, ToolEvent):
            self._calls[event.call_id] = event
            if (plan := self._plan.follow(event)) is not None:
                self._append(plan)
        elif isinstance(event, MessageEvent):
            self._messages[event.message_id] = event
        elif isinstance(event, TokenEvent):
            before = "" if event.restart else self._streamed.get(event.message_id, "")
            self._streamed[event.message_id] = before + event.text
        elif isinstance(event, DoneEvent):
            self.closed = True

    def finish_plan(self) -> None:
        """Tick off what is left of the plan, when one was shown."""
        if (plan := self._plan.finish()) is not None:
            self._append(plan)

    async def read(self) -> AsyncIterator[ChatEvent]:
        """Yield every event from the first to `done`."""
        at = 0
        while True:
            while at < len(self._events):
                yield self._events[at].seen
                at += 1
            if self.closed:
                return
            await self._grown.wait()

    def unpublished(self, *closing: ChatEvent) -> list[dict[str, Any]]:
        """Return what readers elsewhere have not been told, tokens in a row put together.

        `closing` is what will be said last, once what is returned here is safely written.
        """
        for at, event in enumerate(closing, start=len(self._events) + 1):
            event.seq = at
        self._told = self._published
        fresh = [*self._events[self._published :], *closing]
        self._published = len(self._events) + len(closing)
        return [event.model_dump(mode="json") for event in _condensed(fresh)]

    def say_again(self) -> None:
        """Take back that the last batch was published: it was not written."""
        self._published = self._told

    def answer(self) -> Answer:
        """Return what the transcript keeps of the turn so far."""
        said = {**{key: None for key in self._streamed}, **self._messages}
        texts = [
            message.text if message is not None else self._streamed[key]
            for key, message in said.items()
        ]
        blocks = [block for message in self._messages.values() for block in message.blocks]
        return Answer(
            text="\n\n".join(text for text in texts if text.strip()),
            blocks=blocks,
            tool_calls=[_record(call) for call in self._calls.values()],
            plan=[PlanLine(title=step.title, status=step.status) for step in self._steps],
        )

    def _append(self, event: ChatEvent) -> None:
        if isinstance(event, PlanEvent):
            self._steps = event.steps
        event.seq = len(self._events) + 1
        self._events.append(event)
        self._grown.set()
        self._grown = asyncio.Event()


def _condensed(events: list[ChatEvent]) -> list[ChatEvent]:
    kept: list[ChatEvent] = []
    for event in events:
        last = kept[-1] if kept else None
        if (
            isinstance(event, TokenEvent)
            and isinstance(last, TokenEvent)
            and last.message_id == event.message_id
            and not event.restart
        ):
            kept[-1] = last.model_copy(update={"text": last.text + event.text, "seq": event.seq})
        else:
            kept.append(event)
    return kept


def _record(call: ToolEvent) -> ToolCallRecord:
    return ToolCallRecord(
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
        status=call.status,
        agent=call.agent,
        blocks=call.blocks,
        error=call.error,
    )
