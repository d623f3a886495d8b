"""Greetings, thanks and help; what can be done is read from the tools themselves."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from nebula.llm.command.wording import plain
from nebula.tool.definition import AnyTool, Effect
from nebula.tool.phrases import plain_forms

_HELLO = {
    "hello",
    "hi",
    "hey",
    "hey there",
    "hello there",
    "hi there",
    "yo",
    "hi jarvis",
    "hello jarvis",
}
_HELLO |= {
    "hey jarvis",
    "jarvis",
    "good morning",
    "good evening",
    "good afternoon",
    "howdy",
    "greetings",
}
_THANKS = {
    "thanks",
    "thank you",
    "thx",
    "cheers",
    "great",
    "nice",
    "cool",
    "awesome",
    "perfect",
    "ty",
}
_THANKS |= {
    "well done",
    "good job",
    "thanks jarvis",
    "thank you jarvis",
    "thanks a lot",
    "ok thanks",
}
_YES = {
    "yes",
    "y",
    "yep",
    "yeah",
    "sure",
    "ok",
    "okay",
    "do it",
    "go ahead",
    "go on",
    "confirm",
    "approve",
}
_NO = {"no", "n", "nope", "nah", "cancel", "never mind", "nevermind", "stop", "forget it", "none"}
_NO |= {"none of these", "none of them", "abort", "no thanks"}
_BYE = {"bye", "goodbye", "good bye", "good night", "see you", "see you later"}
_HELP = re.compile(
    r"^(?:help(?: me)?|what (?:can|do) (?:you|u) do(?: for me)?|what are you able to do"
    r"|what (?:can i|do i) (?:say|ask|do|type)(?: here| to you)?|(?:list|show)(?: me)?(?: all)?(?: the)?"
    r" (?:commands|tools|features)|commands|tools|how do you work|who are you|what are you"
    r"|which (?:commands|tools|features) (?:are there|do you (?:have|know))|/help)$"
)


_HELP_INTRO = "I can do these things; say them in your own words, or type `/` for commands.\n\n"
_ANSWERS = (
    (_THANKS, "You are welcome."),
    (_BYE, "Goodbye. Everything keeps running."),
    (
        _YES,
        "There is nothing waiting for a yes here. Approvals are decided on their card or "
        "with `jarvis approvals`.",
    ),
    (_NO, "All right, nothing was done."),
)


def is_yes(text: str) -> bool:
    """Say whether the text agrees."""
    return plain(text) in _YES


def is_no(text: str) -> bool:
    """Say whether the text declines."""
    return plain(text) in _NO


def small_talk(text: str, tools: Sequence[AnyTool], about: Mapping[str, str]) -> str | None:
    """Return an answer to a greeting, thanks or a plea for help; None for anything else."""
    said = plain(text)
    if _HELP.match(said):
        return _HELP_INTRO + abilities(tools, about)
    if said in _HELLO:
        return f"Hello. {_starter(tools)}"
    return next((answer for words, answer in _ANSWERS if said in words), None)


def abilities(tools: Sequence[AnyTool], about: Mapping[str, str]) -> str:
    """List the features with one example each, as Markdown."""
    features: dict[str, list[AnyTool]] = defaultdict(list)
    for tool in tools:
        features[tool.feature].append(tool)
    lines = []
    for feature, members in sorted(features.items()):
        line = about.get(feature) or members[0].summary
        lines.append(f"- **{feature}**: {line.rstrip('.')}. Try “{_example_of(members)}”.")
    return "\n".join(lines) or "Nothing: no tool is open to you."


def example(tool: AnyTool) -> str:
    """Return one sentence that this tool understands."""
    if tool.examples:
        return tool.examples[0]
    return next((form for template in tool.says for form in plain_forms(template, 1)), tool.name)


def _example_of(tools: Sequence[AnyTool]) -> str:
    harmless = [tool for tool in tools if tool.effect is Effect.READ]
    # What people ask for most has the most examples.
    return example(max(harmless or tools, key=lambda tool: len(tool.examples)))


def _starter(tools: Sequence[AnyTool]) -> str:
    asked = [tool for tool in tools if tool.effect is Effect.READ and tool.examples]
    favourites = sorted(asked, key=lambda tool: -len(tool.examples))[:2]
    if not favourites:
        return "What shall I do?"
    said = " or ".join(f"“{tool.examples[0]}”" for tool in favourites)
    return f"What shall I do? For example {said}. Say “help” for everything I can do."
