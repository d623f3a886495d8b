"""Understands a sentence without a model: command, template, example, then retrieval."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from nebula.auth.principal import Caller
from nebula.llm.command import slash
from nebula.llm.command.answers import Answer, Asked, Call, Choices, Reply, Unknown
from nebula.llm.command.fill import fill, topic
from nebula.llm.command.slots import SlotValues, resolve, slots_of
from nebula.llm.command.smalltalk import abilities, is_no, is_yes, small_talk
from nebula.llm.command.templates import Match, Templates
from nebula.llm.command.values import Checked, check
from nebula.llm.command.wording import (
    asks_about,
    asks_how,
    clean,
    is_question,
    plain,
    readings,
)
from nebula.tool.definition import AnyTool, Audience, Effect
from nebula.tool.render import escape
from nebula.tool.retrieval import Ranked

MANUAL = "knowledge_search"
"""The tool that answers questions when it is among the tools."""

SURE, APART = 0.55, 0.10
"""A read-only tool runs by itself from this cosine on, this far before the next in score.

On the tuning half of benchmarks/p3.py no such run is wrong. On utterances that tools were not
described for, some are, which is why nothing that changes the world ever runs on them.
"""

FLOOR = 0.36
"""Below this cosine nothing is even offered."""

_OFFERED = 5
_LISTED = 10
_MAX_TEXT = 4_000
"""Characters of a sentence that is looked at; longer texts are no commands."""

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


class Ranks(Protocol):
    """What orders tools by how well they fit; ToolIndex in production."""

    async def rank(
        self, text: str, tools: Collection[str] | None = None, k: int = 8
    ) -> list[Ranked]:
        """Return the best `k` of the named tools, best first."""
        ...

    async def warm(self) -> None:
        """Get ready, so that the first request does not wait for it."""
        ...


class CommandMode:
    """Turns sentences into tool calls, questions back, or plain answers."""

    def __init__(
        self,
        index: Ranks,
        *,
        slot_values: SlotValues | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Take the tool index, known values by parameter name, and a line about each feature."""
        self.index = index
        self._templates = Templates(slot_values or {})
        self._about = about or {}
        self._examples: dict[str, tuple[AnyTool, frozenset[str]]] = {}

    def match_exact(self, text: str, tools: Sequence[AnyTool]) -> Call | None:
        """Return a call only when the text is plainly one: a command, sentence or example.

        Nothing is guessed here, so that it may run before a model is asked.
        """
        text = clean(text)
        if not text or len(text) > _MAX_TEXT:
            return None
        if slash.split(text) is not None:
            found = self._slash(text, tools)
        else:
            found = (
                self._sentence(text, tools, plain_only=True)
                or self._example(text, tools)
                or self._sentence(text, tools, open_slots=True, plain_only=True)
            )
        return found if isinstance(found, Call) else None

    async def interpret(
        self,
        text: str,
        tools: Sequence[AnyTool],
        caller: Caller | None = None,
        *,
        pending: Choices | None = None,
    ) -> Answer:
        """Return what the text asks for; `pending` is the question asked just before.

        Raises:
            UpstreamUnavailable: when the embedding model is not installed.
        """
        text = clean(text)
        tools = [tool for tool in tools if _open_to(tool, caller)]
        if not text:
            return Unknown("You sent nothing. Say “help” to see what I can do.")
        if pending is not None:
            picked = _picked(text, pending)
            if isinstance(picked, Reply):
                return picked
            if picked is not None:
                return await self.interpret(picked, tools, caller)
        if len(text) > _MAX_TEXT:
            return Unknown("That is too long for a command. Say in one sentence what to do.")
        found = (
            self._slash(text, tools)
            or self._sentence(text, tools)
            or self._example(text, tools)
            or self._small_talk(text, tools)
            or self._filled(text, tools, pending)
            or self._sentence(text, tools, open_slots=True)
        )
        return found or await self._nearest(text, tools)

    def _slash(self, text: str, tools: Sequence[AnyTool]) -> Answer | None:
        command = slash.split(text)
        if command is None:
            return None
        name, rest = command
        tool = next((tool for tool in tools if tool.name == name), None)
        if tool is None:
            return self._no_command(name, tools)
        parsed = slash.parse(tool, rest)
        if parsed.rest:
            takes = ", ".join(f"`{name}=`" for name in tool.input_model.model_fields) or "nothing"
            return Unknown(f"`/{tool.name}` takes {takes}; “{_quoted(parsed.rest)}” fits nowhere.")
        return self._call_or_ask(tool, self._resolved(tool, parsed.said))

    def _no_command(self, name: str, tools: Sequence[AnyTool]) -> Answer:
        if name == "help":
            return Reply(small_talk("help", tools, self._about) or "")
        names = [tool.name for tool in tools]
        near = [other for other in names if other.startswith(f"{name}_")]
        near = near or difflib.get_close_matches(name, names, _OFFERED, 0.6)
        if not near:
            return Unknown(f"There is no command “/{_quoted(name)}”. Say “help” to see them.")
        by_name = {tool.name: tool for tool in tools}
        options = [(_label(by_name[other], {}), f"/{other}") for other in near[:_LISTED]]
        return Choices(
            question=f"There is no command /{_quoted(name)}. Did you mean:", options=options
        )

    def _sentence(
        self,
        text: str,
        tools: Sequence[AnyTool],
        *,
        open_slots: bool = False,
        plain_only: bool = False,
    ) -> Answer | None:
        for reading in readings(text):
            matches = self._templates.match(reading, tools, open_slots=open_slots)
            if plain_only:
                matches = [match for match in matches if not match.chained]
            if len(matches) == 1:
                return self._matched(matches[0], open_slots=open_slots)
            if matches:
                said = {match.tool.name: match.said for match in matches}
                return self._offer([match.tool for match in matches], said)
        return None

    def _matched(self, match: Match, *, open_slots: bool) -> Answer | None:
        said = dict(match.said)
        unknown: dict[str, str] = {}
        if open_slots:
            for name in match.free:
                known = self._templates.known(name)
                if (
                    known
                    and resolve(str(said[name]), known) is None
                    and not _looks_exact(said[name])
                ):
                    unknown[name] = str(said.pop(name))
        checked = check(match.tool, self._resolved(match.tool, said))
        for name, value in unknown.items():
            problem = f"I know nothing called “{_quoted(value)}” here."
            return self._ask(match.tool, name, checked.arguments, problem)
        return self._call_or_ask(match.tool, checked.arguments if checked.ready else said)

    def _example(self, text: str, tools: Sequence[AnyTool]) -> Answer | None:
        forms = {plain(reading) for reading in readings(text)}
        for tool in tools:
            if not forms.isdisjoint(self._examples_of(tool)):
                said = topic if tool.effect is Effect.READ else fill
                return self._call_or_ask(tool, said(tool, text, self._templates.known))
        return None

    def _examples_of(self, tool: AnyTool) -> frozenset[str]:
        known = self._examples.get(tool.name)
        if known is None or known[0] is not tool:
            known = (tool, frozenset(plain(example) for example in tool.examples))
            self._examples[tool.name] = known
        return known[1]

    def _small_talk(self, text: str, tools: Sequence[AnyTool]) -> Reply | None:
        answer = small_talk(text, tools, self._about)
        return Reply(answer) if answer is not None else None

    def _filled(
        self, text: str, tools: Sequence[AnyTool], pending: Choices | None
    ) -> Answer | None:
        """Take the text as the argument that was asked for."""
        if pending is None or pending.asked is None:
            return None
        asked = pending.asked
        tool = next((tool for tool in tools if tool.name == asked.tool), None)
        if tool is None or asked.parameter not in tool.input_model.model_fields:
            return None
        slot = slots_of(tool)[asked.parameter]
        known = slot.choices or tuple(self._templates.known(slot.name))
        if known and resolve(text, known) is None and not _looks_exact(text):
            return None
        said = {**asked.arguments, slot.name: text.strip("\"'")}
        return self._call_or_ask(tool, self._resolved(tool, said))

    async def _nearest(self, text: str, tools: Sequence[AnyTool]) -> Answer:
        """Retrieve: run what only reads and is clearly meant, look up a question, else offer."""
        by_name = {tool.name: tool for tool in tools}
        manual = by_name.get(MANUAL)
        bare = readings(text)[0]
        explain = manual is not None and asks_how(bare)
        if manual is not None and explain and not asks_about(bare):
            return self._look_up(manual, text)
        ranked = await self.index.rank(bare, set(by_name), _OFFERED)
        near = [each for each in ranked if each.cosine >= FLOOR]
        if near and _clear(near) and by_name[near[0].name].effect is Effect.READ:
            tool = by_name[near[0].name]
            return self._call_or_ask(tool, topic(tool, bare, self._templates.known))
        asked = manual is not None and is_question(bare)
        if manual is not None and (explain or (asked and not near)):
            return self._look_up(manual, text)
        if not near:
            return Unknown(
                f"I do not know how to do “{_quoted(text)}”. I can do these:\n\n"
                + abilities(tools, self._about)
            )
        offered = [by_name[each.name] for each in near]
        if manual is not None and asked and manual not in offered:
            offered = [*offered[: _OFFERED - 1], manual]
        said = {tool.name: self._evidence(tool, bare) for tool in offered}
        return self._offer(offered, said)

    def _evidence(self, tool: AnyTool, text: str) -> dict[str, str]:
        """Return what an offer carries: for the manual the question, else typed evidence."""
        if tool.name == MANUAL:
            return topic(tool, text, self._templates.known)
        return fill(tool, text, self._templates.known)

    def _look_up(self, manual: AnyTool, text: str) -> Answer:
        query = next((s.name for s in slots_of(manual).values() if s.required), "query")
        return self._call_or_ask(manual, {query: text})

    def _offer(self, tools: Sequence[AnyTool], said: Mapping[str, Mapping[str, Any]]) -> Choices:
        options = []
        for tool in tools[:_OFFERED]:
            # An option may ask on; it never carries a value that does not fit.
            checked = check(tool, self._resolved(tool, said[tool.name]))
            options.append((_label(tool, checked.arguments), slash.spoken(tool, checked.arguments)))
        return Choices(question="Which of these did you mean?", options=options)

    def _resolved(self, tool: AnyTool, said: Mapping[str, Any]) -> dict[str, Any]:
        """Replace what people say for a known value ("Stable Diffusion") by the value."""
        found = dict(said)
        for name, value in said.items():
            known = self._templates.known(name)
            if not known or name not in tool.input_model.model_fields:
                continue
            if isinstance(value, str):
                found[name] = resolve(value, known) or value
        return found

    def _call_or_ask(self, tool: AnyTool, said: Mapping[str, Any]) -> Answer:
        checked = check(tool, said)
        if checked.ready:
            return Call(tool.name, checked.arguments)
        return self._ask_first(tool, checked)

    def _ask_first(self, tool: AnyTool, checked: Checked) -> Answer:
        for name, problem in checked.wrong.items():
            if name not in tool.input_model.model_fields:
                return Unknown(f"`/{tool.name}`: {problem}.")
            return self._ask(tool, name, checked.arguments, f"{problem}.")
        return self._ask(tool, checked.missing[0], checked.arguments, "")

    def _ask(self, tool: AnyTool, name: str, arguments: dict[str, Any], problem: str) -> Choices:
        """Ask for one argument, with the known values to pick from."""
        slot = slots_of(tool)[name]
        known = slot.choices or tuple(self._templates.known(name))
        firsts = {value: form for form, value in reversed(known)}
        options = [
            (firsts[value], slash.spoken(tool, {**arguments, name: value}))
            for value in dict.fromkeys(value for _, value in known)
        ][:_LISTED]
        about = f" ({slot.description.rstrip('.')})" if slot.description else ""
        question = f"{problem} Which {slot.spoken}?{about}".strip()
        asked = Asked(tool=tool.name, parameter=name, arguments=arguments)
        return Choices(question=question, options=options, asked=asked)


def _open_to(tool: AnyTool, caller: Caller | None) -> bool:
    if caller is None:
        return True
    if caller.by_model and tool.audience is Audience.HUMAN:
        return False
    return caller.principal.can(tool.permission)


def _picked(text: str, pending: Choices) -> str | Reply | None:
    """Return what picking an option sends, when the text picks one."""
    if is_no(text):
        return Reply("All right, nothing was done.")
    said = plain(text)
    if is_yes(text) and len(pending.options) == 1:
        return pending.options[0][1]
    found = re.fullmatch(r"(?:option |number |no |#|the )?(\d{1,2}|[a-z]+)(?: one| option)?", said)
    if found is not None:
        number = int(found[1]) if found[1].isdigit() else _ordinal(found[1])
        if 1 <= number <= len(pending.options):
            return pending.options[number - 1][1]
        if found[1].isdigit() and pending.options and pending.asked is None:
            return Reply(f"There are only {len(pending.options)} to pick from.")
    return next((sends for label, sends in pending.options if plain(label) == said), None)


def _ordinal(word: str) -> int:
    return _ORDINALS.index(word) + 1 if word in _ORDINALS else 0


def _clear(near: Sequence[Ranked]) -> bool:
    """Say whether the best is close enough to run and well ahead of the next."""
    ahead = near[0].score - near[1].score if len(near) > 1 else 1.0
    return near[0].cosine >= SURE and ahead >= APART


def _looks_exact(value: Any) -> bool:
    """Say whether a value reads like an identifier ("llama3.2:3b") that a tool may know."""
    return re.fullmatch(r"(?=.*[\d:/@._-])\S+", str(value)) is not None


def _label(tool: AnyTool, arguments: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}: {_short(str(value))}" for name, value in arguments.items())
    return f"{tool.summary.rstrip('.')} ({given})" if given else tool.summary.rstrip(".")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _quoted(text: str) -> str:
    """Write a person's words inside our Markdown."""
    return escape(_short(text))
