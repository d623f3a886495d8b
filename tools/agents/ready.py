"""Ready-made agents: files of `agents/ready/`, one each."""

from functools import lru_cache
from pathlib import Path

from nebula.errors import InternalError, InvalidInput
from nebula.near import near
from nebula.yaml_file import BadFile, read_yaml
from tools.agents.spec import Spec

FOLDER = Path(__file__).parents[2] / "agents" / "ready"


@lru_cache(maxsize=1)
def ready_agents() -> dict[str, Spec]:
    """Return every ready-made agent by its name.

    Raises:
        BadFile: when a file has a mistake.
    """
    found = [read_yaml(path).validated(Spec) for path in sorted(FOLDER.glob("*.yml"))]
    return {spec.name: spec for spec in found}


def ready_agent(name: str) -> Spec:
    """Return a ready-made agent; raises InvalidInput with the nearest names."""
    try:
        known = ready_agents()
    except BadFile as error:
        raise InternalError(str(error)) from error
    if name not in known:
        raise InvalidInput(f"There is no ready-made agent {name!r}", hint=near(name, known))
    return known[name]
