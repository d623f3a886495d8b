"""Who exists: the supervisor and its sub-agents, one per group of features."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from agents.profile import PROMPTS, Limits, Profile
from nebula.tool.definition import BadDeclaration

JARVIS = Profile(
    name="jarvis",
    purpose="Talks with the person, does what one step does, and hands on the rest.",
    features=None,
    prompt="jarvis.md",
    limits=Limits(steps=5, tools=8),
)

GPU_OPERATOR = Profile(
    name="gpu_operator",
    purpose="GPU work of several steps: plan, switch, load, unload, get models, check services.",
    features=frozenset({"gpu", "services", "models"}),
    prompt="gpu_operator.md",
    limits=Limits(steps=5, tools=8),
)

LIBRARIAN = Profile(
    name="librarian",
    purpose="Research in documents, the manual and memories; adding to them.",
    features=frozenset({"knowledge", "recall"}),
    prompt="librarian.md",
    limits=Limits(steps=5, tools=8),
)

OPERATOR = Profile(
    name="operator",
    purpose="Runs this system: people, set-up, notifications, jobs, autonomous agents, workflows, which model thinks.",
    features=frozenset(
        {"users", "setup", "notify", "jarvis", "jobs", "agents", "workflows", "webhooks", "backups"}
    ),
    reads=frozenset({"knowledge"}),
    prompt="operator.md",
    limits=Limits(steps=5, tools=8),
)


@dataclass(frozen=True)
class Roster:
    """The supervisor and the sub-agents it may ask."""

    supervisor: Profile
    agents: tuple[Profile, ...]

    def get(self, name: str) -> Profile | None:
        """Return a sub-agent by its name."""
        return next((agent for agent in self.agents if agent.name == name), None)


STANDARD = Roster(JARVIS, (GPU_OPERATOR, LIBRARIAN, OPERATOR))


def with_steps(roster: Roster, steps: int) -> Roster:
    """Return the roster with the operator's limit of rounds for the supervisor."""
    limits = roster.supervisor.limits.model_copy(update={"steps": steps})
    return replace(roster, supervisor=roster.supervisor.model_copy(update={"limits": limits}))


def validated(roster: Roster, features: Collection[str]) -> Roster:
    """Return the roster when every profile can work with the features there are.

    Raises:
        BadDeclaration: for a name used twice, an unknown feature, or a missing or empty prompt.
    """
    profiles = [roster.supervisor, *roster.agents]
    problems = _twice([profile.name for profile in profiles])
    for profile in profiles:
        unknown = sorted(((profile.features or frozenset()) | profile.reads) - set(features))
        problems += [f"{profile.name}: there is no feature {name!r}" for name in unknown]
        if not (PROMPTS / profile.prompt).is_file():
            problems.append(f"{profile.name}: there is no prompt agents/prompts/{profile.prompt}")
        elif not profile.instructions:
            problems.append(f"{profile.name}: agents/prompts/{profile.prompt} is empty")
    if problems:
        raise BadDeclaration("; ".join(problems))
    return roster


def _twice(names: Sequence[str]) -> list[str]:
    return [f"two agents are named {name!r}" for name in set(names) if names.count(name) > 1]
