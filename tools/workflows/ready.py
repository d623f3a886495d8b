"""Ready-made workflows: files of `agents/ready/workflows/`, one each, named like the workflow."""

from functools import lru_cache
from pathlib import Path

from nebula.errors import InvalidInput
from nebula.near import near
from tools.workflows.reading import read
from tools.workflows.spec import Spec

FOLDER = Path(__file__).parents[2] / "agents" / "ready" / "workflows"


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
