"""Where a turn is drawn: on a live socket, or into the lists that a reopened session shows."""

from collections.abc import Mapping
from typing import Any, Protocol

from nebula.markup.neutral import neutral
from nebula.markup.text import visible

Step = dict[str, Any]
"""A message or step in the shape of Chainlit's protocol."""
Element = dict[str, Any]
"""A picture, plot or card in the shape of Chainlit's protocol."""


class Screen(Protocol):
    """Draws steps and elements; sending one again under its id replaces it."""

    async def step(self, step: Step) -> None:
        """Draw a message or step."""
        ...

    async def token(self, step_id: str, text: str) -> None:
        """Append to a message that is being streamed."""
        ...

    async def element(self, element: Element) -> None:
        """Draw an element under the message it names."""
        ...


class LiveScreen:
    """Draws on the socket of the chat session in context."""

    def __init__(self) -> None:
        """Bind to the session in context now; a reload draws on another screen."""
        from chainlit.context import context

        self._emitter: Any = context.emitter

    async def step(self, step: Step) -> None:
        """Send a message or step."""
        await self._emitter.send_step(harmless(step))

    async def token(self, step_id: str, text: str) -> None:
        """Send a piece of a message."""
        await self._emitter.send_token(id=step_id, token=text)

    async def element(self, element: Element) -> None:
        """Send an element."""
        await self._emitter.send_element(element)


class Recording:
    """Collects what a session's history shows."""

    def __init__(self) -> None:
        """Begin empty."""
        self._steps: dict[str, Step] = {}
        self._elements: dict[str, Element] = {}

    @property
    def steps(self) -> list[Step]:
        """Return the messages and steps in order."""
        return list(self._steps.values())

    @property
    def elements(self) -> list[Element]:
        """Return the elements in order."""
        return list(self._elements.values())

    async def step(self, step: Step) -> None:
        """Keep a message or step."""
        self._steps[step["id"]] = {**self._steps.get(step["id"], {}), **harmless(step)}

    async def token(self, step_id: str, text: str) -> None:
        """Append to a kept message."""
        step = self._steps[step_id]
        step["output"] = step.get("output", "") + text

    async def element(self, element: Element) -> None:
        """Keep an element."""
        self._elements[element["id"]] = dict(element)


def harmless(step: Step) -> Step:
    """Return a step whose text makes the page load nothing, whoever wrote it.

    What a person said is shown letter by letter, so it stays as it is.
    """
    if step["type"] == "user_message":
        return step
    output = neutral(step.get("output", ""), directives=True)
    return {**step, "name": visible(step["name"]), "output": output}


def with_thread(items: list[dict[str, Any]], thread_id: str) -> list[Mapping[str, Any]]:
    """Return steps or elements marked with the session they belong to."""
    return [{**item, "threadId": thread_id} for item in items]
