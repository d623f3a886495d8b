"""Reads a workflow from YAML text, and knows on which line everything stands."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from nebula.errors import InvalidInput
from nebula.yaml_file import BadFile, Document, Problem, parse_yaml
from tools.workflows.spec import MOST_DEPTH, MOST_STEPS, Spec

LONGEST = 50_000
"""Characters of a definition."""
_FILE = "workflow"


def read(text: str) -> tuple[Spec, Document]:
    """Return a workflow and the places in its text.

    Raises:
        BadFile: with every mistake in its form.
    """
    document = parse_yaml(_FILE, text.encode())
    spec = document.validated(Spec)
    problems = list(_sizes(spec, document))
    if problems:
        raise BadFile(problems)
    return spec, document


def written(values: Mapping[str, Any]) -> str:
    """Return a workflow that was given as values as the text that people read."""
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100)
    return text


def refused(problems: Sequence[Problem]) -> InvalidInput:
    """Return the error that names every mistake with its line."""
    said = "; ".join(f"line {each.line}: {each.message}" for each in problems[:20])
    fields = [{"field": f"line {each.line}", "problem": each.message} for each in problems[:50]]
    hint = "Nothing was saved. Correct it and try again; workflows_check looks without saving."
    return InvalidInput(f"This is no workflow: {said}", hint=hint, fields=fields)


def _sizes(spec: Spec, document: Document) -> "list[Problem]":
    every = list(spec.every_step())
    found = []
    if len(every) > MOST_STEPS:
        found.append(document.problem(("steps",), f"more than {MOST_STEPS} steps"))
    if any(depth > MOST_DEPTH for depth, _ in every):
        found.append(document.problem(("steps",), f"nested deeper than {MOST_DEPTH} blocks"))
    return found
