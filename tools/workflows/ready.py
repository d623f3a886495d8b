"""Ready-made workflows: files of `agents/ready/workflows/`, one each, named like the workflow."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from nebula.errors import InvalidInput
from nebula.near import near
from tools.workflows.reading import read
from tools.workflows.schemas import ReadyWorkflow, Workflow
from tools.workflows.spec import Spec
from tools.workflows.starting import starts

FOLDER = Path(__file__).parents[2] / "agents" / "ready" / "workflows"
_BLANK = Path(__file__).with_name("blank.yml")


@lru_cache(maxsize=1)
def ready_workflows() -> dict[str, tuple[str, Spec]]:
    """Return every ready-made workflow by its name: its text, and what it says.

    Raises:
        BadFile: when a file has a mistake.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yml"))]
    found = [(text, read(text)[0]) for text in texts]
    return {spec.name: (text, spec) for text, spec in found}


def ready_workflow(name: str) -> str:
    """Return the text of a ready-made workflow; raises InvalidInput with the nearest names."""
    known = ready_workflows()
    if name not in known:
        raise InvalidInput(f"There is no ready-made workflow {name!r}", hint=near(name, known))
    return known[name][0]


def ready_ones(have: Sequence[Workflow]) -> list[ReadyWorkflow]:
    """Return the ready-made workflows that nobody of these is."""
    taken = {each.name for each in have}
    return [
        ReadyWorkflow(name=name, description=spec.description, when=starts(spec))
        for name, (_, spec) in ready_workflows().items()
        if name not in taken
    ]


def blank() -> str:
    """Return the text that a new workflow begins with: one that runs, with comments that say how."""
    return _BLANK.read_text(encoding="utf-8")
