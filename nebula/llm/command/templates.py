"""Matches sentences against every tool's `says`, compiled once per tool with hassil."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Any

from nebula.llm.command.slots import Slot, SlotValue, SlotValues, says_of, slots_of
from nebula.tool.definition import AnyTool, BadDeclaration

if TYPE_CHECKING:
    from hassil.intents import Intent, SlotList
    from hassil.recognize import RecognizeResult

_WORD_NUMBERS = 1000
"""Ranges up to this size are also understood in words ("twenty")."""

_FEW = 16

_CHAIN = re.compile(r"\b(?:and|,)\s+(?:then|also|after that|afterwards)\b|\bthen\b", re.IGNORECASE)


@dataclass(frozen=True)
class Match:
    """A sentence that fits a template; `free` names the slots that took words as they came."""

    tool: AnyTool
    said: dict[str, Any]
    free: frozenset[str]
    rank: tuple[int, int, int]
    """Orders matches: fewer free slots, less free text, more literal text."""

    @property
    def chained(self) -> bool:
        """Say whether free text seems to hold a second command."""
        return any(_CHAIN.search(str(self.said[name])) for name in self.free)


@dataclass(frozen=True)
class _Compiled:
    tool: AnyTool
    intent: "Intent"
    kept: frozenset[str]
    """Slots whose values are known only at run time."""
    required: tuple[frozenset[frozenset[str]], ...]
    """By sentence: of each set of words, a text that fits holds at least one."""

    @property
    def fragments(self) -> frozenset[str]:
        """Return every text that one of the sentences cannot do without."""
        return frozenset(text for clauses in self.required for clause in clauses for text in clause)

    def may_fit(self, there: set[str]) -> bool:
        """Say whether a text that holds these fragments can fit one of the sentences."""
        for clauses in self.required:
            for clause in clauses:
                if clause.isdisjoint(there):
                    break
            else:
                return True
        return False


class Templates:
    """All templates; a tool's are parsed when the tool is first seen."""

    def __init__(self, slot_values: SlotValues) -> None:
        """Take where to ask for values known only at run time, by parameter name."""
        self._values = slot_values
        self._compiled: dict[str, _Compiled] = {}
        self._fragments: set[str] = set()
        self._lists: dict[str, tuple[tuple[tuple[str, str], ...], SlotList]] = {}
        # A sentence is read with closed slots, and when nothing came of that, with open ones.
        self._may_fit = lru_cache(maxsize=32)(self._looked_through)

    def match(self, text: str, tools: Sequence[AnyTool], *, open_slots: bool) -> list[Match]:
        """Return the best matches, all of equal rank.

        With `open_slots`, one parameter with known values takes any words, so that the
        caller can say which values there are.

        Raises:
            BadDeclaration: when a template is not well-formed or names an unknown parameter.
        """
        from hassil.intents import Intents
        from hassil.recognize import recognize_all

        compiled = self._may_fit(text, tuple(tools))
        if not compiled:
            return []
        closed = self._known_lists()
        found: dict[str, Match] = {}
        for opened, lists in _opened(closed) if open_slots else [("", closed)]:
            intents = {
                name: each.intent
                for name, each in compiled.items()
                if not opened or opened in each.kept
            }
            if not intents:
                continue
            matches = recognize_all(text, Intents(language="en", intents=intents), slot_lists=lists)
            for result in matches:
                match = _match(text, compiled[result.intent.name], result)
                before = found.get(match.tool.name)
                if before is None or match.rank < before.rank:
                    found[match.tool.name] = match
        best = min((match.rank for match in found.values()), default=None)
        return [match for match in found.values() if match.rank == best]

    def known(self, parameter: str) -> list[tuple[str, str]]:
        """Return (spoken form, value) of everything known for a parameter at this moment."""
        values = self._values.get(parameter)
        return list(_forms(tuple(values()))) if values is not None else []

    def _looked_through(self, text: str, tools: tuple[AnyTool, ...]) -> Mapping[str, _Compiled]:
        """Return the tools, by name, of which a sentence may fit."""
        from hassil.util import normalize_for_matching

        every = [self._of(tool) for tool in tools if tool.says]
        # hassil looks for these, too, but only after it has gathered every list of every tool.
        haystack = normalize_for_matching(text).text.casefold()
        there = {fragment for fragment in self._fragments if fragment in haystack}
        return {each.tool.name: each for each in every if each.may_fit(there)}

    def _of(self, tool: AnyTool) -> _Compiled:
        known = self._compiled.get(tool.name)
        if known is None or known.tool is not tool:
            known = self._compiled[tool.name] = _compile(tool, frozenset(self._values))
            self._fragments |= known.fragments
        return known

    def _known_lists(self) -> "dict[str, SlotList]":
        from hassil.intents import TextSlotList

        for name in self._values:
            forms = tuple(self.known(name))
            if name not in self._lists or self._lists[name][0] != forms:
                said = [*_with_articles(forms), *_together(forms)]
                made = TextSlotList.from_tuples(said, allow_template=False, name=name)
                self._lists[name] = (forms, made)
        return {name: made for name, (_, made) in self._lists.items()}


@lru_cache(maxsize=64)
def _forms(values: tuple[SlotValue, ...]) -> tuple[tuple[str, str], ...]:
    """Say known values; they are asked for in every turn and seldom change."""
    return tuple(says_of(values))


def _opened(closed: "dict[str, SlotList]") -> "Iterator[tuple[str, dict[str, SlotList]]]":
    """Open one list at a time: two open ones side by side could share words anyhow."""
    from hassil.intents import WildcardSlotList

    for name in closed:
        yield name, {**closed, name: WildcardSlotList(name=name)}


def _compile(tool: AnyTool, dynamic: frozenset[str]) -> _Compiled:
    from hassil.intents import Intent, IntentData
    from hassil.parser import ParseError

    slots = slots_of(tool)
    # Sentences reach the matcher without punctuation, so templates drop theirs too.
    sentences = [re.sub(r"[?!,;.]+(?=\s|$|[\])|])", "", template) for template in tool.says]
    kept = frozenset(
        name for name, slot in slots.items() if name in dynamic and slot.kind in ("text", "list")
    )
    local = {name: _slot_list(slot) for name, slot in slots.items() if name not in kept}
    wild = {name for name, made in local.items() if _is_free(made)}
    data = IntentData(
        sentence_texts=sentences, slot_lists=local, wildcard_list_names=wild | set(kept)
    )
    try:
        names = {name for sentence in data.sentences for name in sentence.list_names()}
    except ParseError as error:
        raise BadDeclaration(f"{tool.name}: a sentence of says is malformed: {error}") from error
    unknown = sorted(names - set(slots))
    if unknown:
        raise BadDeclaration(f"{tool.name}: says names {unknown}, which is no parameter")
    required = tuple(sentence.get_required_clauses({}) for sentence in data.sentences)
    return _Compiled(tool, Intent(name=tool.name, data=[data]), kept, required)


def _slot_list(slot: Slot) -> "SlotList":
    from hassil.intents import RangeSlotList, TextSlotList, WildcardSlotList

    if slot.choices:
        said = _with_articles(slot.choices)
        return TextSlotList.from_tuples(said, allow_template=False, name=slot.name)
    if slot.kind == "whole":
        words = slot.high - slot.low <= _WORD_NUMBERS
        return RangeSlotList(name=slot.name, start=slot.low, stop=slot.high, words=words)
    return WildcardSlotList(name=slot.name)


def _with_articles(forms: Sequence[tuple[str, str]]) -> list[tuple[str, Any]]:
    articles = ("", "the ", "my ", "our ")
    return [(article + form, value) for form, value in forms for article in articles]


def _together(forms: Sequence[tuple[str, str]]) -> list[tuple[str, Any]]:
    """Say several known values at once ("ops and discord"), where there are few."""
    if len(forms) > _FEW:
        return []
    found: list[tuple[str, Any]] = []
    for several in [*permutations(forms, 2), *permutations(forms[: _FEW // 2], 3)]:
        values = [value for _, value in several]
        if len(set(values)) == len(values):
            *first, last = [form for form, _ in several]
            # Commas are gone by the time sentences are matched.
            found.append((f"{' '.join(first)} and {last}", values))
    return found


def _is_free(made: "SlotList") -> bool:
    from hassil.intents import WildcardSlotList

    return isinstance(made, WildcardSlotList)


def _match(text: str, compiled: _Compiled, result: "RecognizeResult") -> Match:
    said: dict[str, Any] = {}
    free: set[str] = set()
    for entity in result.entities_list:
        if entity.is_wildcard:
            free.add(entity.name)
            said[entity.name] = _original(text, entity.text_span, entity.text)
        else:
            said[entity.name] = entity.value
    taken = sum(len(str(said[name])) for name in free)
    return Match(
        compiled.tool, said, frozenset(free), (len(free), taken, -result.text_chunks_matched)
    )


def _original(text: str, span: tuple[int, int] | None, fallback: str) -> str:
    """Return the words as typed: the matcher drops punctuation that a URL or message needs."""
    if span is None:
        return fallback
    start, end = span
    if end >= len(text.rstrip(" ?!.,;")):
        end = len(text)
    value = text[start:end].strip()
    for quote in "\"'":
        if len(value) > 1 and value[0] == value[-1] == quote:
            return value[1:-1]
    # A full stop that ends the sentence is not part of what was asked for.
    return value.rstrip(" ?!.,;") if end == len(text) and " " not in value else value


def check_templates(tools: Sequence[AnyTool], slot_values: Mapping[str, Any] | None = None) -> None:
    """Compile every template.

    Raises:
        BadDeclaration: when one is malformed or names an unknown parameter.
    """
    for tool in tools:
        _compile(tool, frozenset(slot_values or {}))
