"""The operator's policy file: read at the start, read again when it changes, never half taken."""

import hashlib
import time
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import structlog

from nebula.policy.ask import POLICY_VERSION
from nebula.policy.rules import Rules
from nebula.yaml_file import BadFile, Document, Problem, read_yaml

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0


def load_rules(path: Path, tools: Collection[str], features: Collection[str]) -> Rules:
    """Read the file; what it does not say, and a file that is not there, change nothing.

    Raises:
        BadFile: with every mistake, among them patterns that name no tool.
    """
    if not path.exists():
        return Rules()
    document = read_yaml(path)
    rules = document.validated(Rules)
    problems = [
        *_unknown_tools(document, rules, tools),
        *_unknown_features(document, rules, features),
    ]
    if problems:
        raise BadFile(problems)
    return rules


def _unknown_tools(document: Document, rules: Rules, tools: Collection[str]) -> Iterator[Problem]:
    for place, pattern in rules.patterns():
        if not any(fnmatchcase(name, pattern) for name in tools):
            yield document.problem(place, f"{pattern!r} names no tool{_near(pattern, tools)}")


def _unknown_features(
    document: Document, rules: Rules, features: Collection[str]
) -> Iterator[Problem]:
    for surface, rule in rules.surfaces.items():
        for feature in rule.features or ():
            if feature not in features:
                place = ("surfaces", surface.value, "features")
                said = f"there is no feature {feature!r}{_near(feature, features)}"
                yield document.problem(place, said)


def _near(word: str, known: Collection[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class RulesFile:
    """The rules in force: the last good version of the file."""

    def __init__(self, path: Path, tools: Collection[str], features: Collection[str]) -> None:
        """Read the file for the first time.

        Raises:
            BadFile: when it has a mistake: a policy is not half taken.
        """
        self._path = path
        self._tools, self._features = tools, features
        self._stamp = _stamp(path)
        self._looked_at = time.monotonic()
        self._rules = load_rules(path, tools, features)
        self._version = _version(self._rules)
        self.problems: tuple[Problem, ...] = ()
        """What is wrong with a newer version, which is not taken."""

    @property
    def rules(self) -> Rules:
        """Return the rules, read again when the file has changed since."""
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._look()
        return self._rules

    @property
    def version(self) -> str:
        """Return what changes whenever the rules do; an approval is bound to it."""
        _ = self.rules
        return self._version

    def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        if stamp is None:
            # A file that went away was perhaps not meant to: the strict word stays until a restart.
            said = "the file is gone; the rules that were read last stay in force"
            self.problems = (Problem(file=self._path.name, line=1, message=said),)
        else:
            try:
                self._rules = load_rules(self._path, self._tools, self._features)
                self._version, self.problems = _version(self._rules), ()
                log.info("policy_changed", version=self._version)
            except BadFile as bad:
                self.problems = bad.problems
        if self.problems:
            log.warning("policy_not_taken", problems=[str(problem) for problem in self.problems])


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _version(rules: Rules) -> str:
    if rules == Rules():
        return POLICY_VERSION
    digest = hashlib.sha256(rules.model_dump_json().encode()).hexdigest()
    return f"{POLICY_VERSION}-{digest[:16]}"
