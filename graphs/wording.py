"""How results and errors read for a model: short, and plain about what to do next."""

import json
from typing import Any

from nebula.errors import ApprovalRequired, InvalidInput, NebulaError, OutcomeUnknown
from nebula.tool.definition import AnyTool
from nebula.tool.render import escape, to_markdown, visible
from nebula.tool.result import Block, Result

_LONGEST = 6_000
"""Characters of one result that a model reads; people see all of it."""


def result_text(tool: AnyTool, result: Result, blocks: list[Block], *, outside: bool) -> str:
    """Write a result for a model; text from outside stands between marks it cannot close."""
    text = result.model_dump_json(exclude_none=True)
    if len(text) > _LONGEST:
        text = to_markdown(blocks)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}… (cut; the person sees all of it)"
    return delimited(text, tool.name) if outside else text


def delimited(text: str, source: str) -> str:
    """Put text from outside between marks, with any such mark inside it made harmless."""
    inside = visible(text).replace("<outside", "(outside").replace("</outside", "(/outside")
    return f'<outside source="{source}">\n{inside}\n</outside>'


def error_text(error: NebulaError) -> str:
    """Write an error for a model: fix it, try later, or leave it."""
    body: dict[str, Any] = {"error": str(error), "do": _advice(error)}
    if error.hint:
        body["hint"] = error.hint
    if isinstance(error, InvalidInput) and error.fields:
        body["fields"] = error.fields
    return json.dumps(body, ensure_ascii=False)


def error_markdown(error: NebulaError) -> str:
    """Write an error for a person, as Markdown."""
    return f"{escape(str(error))}\n\n{escape(error.hint)}".strip()


def _advice(error: NebulaError) -> str:
    if isinstance(error, InvalidInput):
        return "fix the arguments and call again"
    if isinstance(error, OutcomeUnknown):
        return "do not retry; it may have happened: look first"
    if isinstance(error, ApprovalRequired):
        return "wait: a person must approve"
    if error.code == "conflict":
        return "do not repeat this call as it is"
    if error.retryable:
        return "later; do not retry now"
    return "do not retry; tell the person"
