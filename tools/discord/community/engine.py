"""Decides about a message: an offence or not, and why. Pure: the same facts, the same answer.

No model takes part, and nothing of a message's text leaves this room except as yes or no.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tools.discord.community import links
from tools.discord.community.rules import Moderation, Step
from tools.discord.community.words import Words, form

_LOOK_BACK = 120.0
_MOST_REMEMBERED = 120
_MOST_PEOPLE = 5_000
_REPEAT_SECONDS = 60.0
_BURST_SECONDS = 30.0
"""So long after one flood was answered, more of it is only removed."""


@dataclass(frozen=True)
class Facts:
    """A message as the rules see it."""

    guild_id: str
    channel_id: str
    message_id: str
    author_id: str
    text: str
    at: float
    """Seconds on any steady clock."""
    mentions: int = 0
    parent_id: str | None = None
    roles: frozenset[str] = frozenset()
    immune: str = ""
    """Why moderation leaves this member alone; empty when it does not."""
    edited: bool = False


@dataclass(frozen=True)
class Seen:
    """What is remembered of an earlier message: when, which, and a digest of what it said."""

    at: float
    message_id: str
    channel_id: str
    digest: str


@dataclass(frozen=True)
class Offence:
    """A broken rule."""

    rule: str
    reason: str
    messages: tuple[tuple[str, str], ...]
    """Channel and id of everything that belongs to it."""
    flood: bool = False


@dataclass
class Recent:
    """What each member wrote in the last two minutes, without the words."""

    _seen: OrderedDict[tuple[str, str], deque[Seen]] = field(default_factory=OrderedDict)
    _answered: OrderedDict[tuple[str, str], float] = field(default_factory=OrderedDict)

    def of(self, facts: Facts) -> Sequence[Seen]:
        """Return what the author wrote before, the oldest first."""
        seen = self._seen.get((facts.guild_id, facts.author_id), ())
        return [each for each in seen if facts.at - each.at <= _LOOK_BACK]

    def note(self, facts: Facts) -> None:
        """Remember a message."""
        key = (facts.guild_id, facts.author_id)
        seen = self._seen.setdefault(key, deque(maxlen=_MOST_REMEMBERED))
        seen.append(Seen(facts.at, facts.message_id, facts.channel_id, digest(facts.text)))
        self._seen.move_to_end(key)
        while len(self._seen) > _MOST_PEOPLE:
            self._seen.popitem(last=False)

    def penalized(self, facts: Facts, offence: Offence) -> bool:
        """Say whether this flood has had its penalty a moment ago; if not, note that it gets one."""
        if not offence.flood:
            return False
        key = (facts.guild_id, facts.author_id)
        if facts.at - self._answered.get(key, -_BURST_SECONDS) < _BURST_SECONDS:
            return True
        self._answered[key] = facts.at
        self._answered.move_to_end(key)
        while len(self._answered) > _MOST_PEOPLE:
            self._answered.popitem(last=False)
        return False


def judge(
    facts: Facts, rules: Moderation, words: Words, recent: Sequence[Seen] = ()
) -> Offence | None:
    """Return the rule a message breaks, None when it breaks none or nobody judges it."""
    if rules.mode == "off" or facts.immune or _exempt(facts, rules):
        return None
    found = _said(facts, rules, words)
    if found is None and not facts.edited:
        found = _flood(facts, rules, recent)
    return found


def step_for(steps: Sequence[Step], before: int) -> Step:
    """Return what an offence brings after so many earlier ones that still count."""
    return steps[min(before, len(steps) - 1)]


def digest(text: str) -> str:
    """Return what tells whether two texts are the same, dressed up or not; empty for none."""
    said = form(text) or " ".join(text.split())
    return hashlib.sha256(said.encode()).hexdigest()[:16] if said else ""


def _exempt(facts: Facts, rules: Moderation) -> bool:
    here = {facts.channel_id, facts.parent_id}
    return bool(here & set(rules.exempt_channels)) or bool(facts.roles & set(rules.exempt_roles))


def _said(facts: Facts, rules: Moderation, words: Words) -> Offence | None:
    this = ((facts.channel_id, facts.message_id),)
    if (word := words.first_in(facts.text)) is not None:
        return Offence("words", f"The word “{word}” is not wanted here.", this)
    if rules.links.invites and links.is_invite(facts.text):
        return Offence("links", "Invitations to other servers are not wanted here.", this)
    if rules.links.deny:
        for host, _ in links.mentioned(facts.text):
            if links.below(host, rules.links.deny):
                return Offence("links", f"Links to {host} are not wanted here.", this)
    if rules.links.allow_only:
        for host, _ in links.addresses(facts.text):
            if not links.below(host, rules.links.allow_only):
                return Offence("links", "Links are only allowed to a few places here.", this)
    return None


def _flood(facts: Facts, rules: Moderation, recent: Sequence[Seen]) -> Offence | None:
    spam, this = rules.spam, (facts.channel_id, facts.message_id)
    if spam.mentions and facts.mentions > spam.mentions:
        said = f"{facts.mentions} mentions in one message; {spam.mentions} are allowed."
        return Offence("spam", said, (this,), flood=True)
    own = digest(facts.text)
    same = [s for s in recent if s.digest == own and facts.at - s.at <= _REPEAT_SECONDS]
    if spam.repeats and own and len(same) + 1 >= spam.repeats:
        said = f"The same message {len(same) + 1} times."
        return Offence("spam", said, (*_ids(same), this), flood=True)
    lately = [s for s in recent if facts.at - s.at <= spam.seconds]
    if spam.messages and len(lately) + 1 > spam.messages:
        said = f"{len(lately) + 1} messages in {spam.seconds} seconds."
        return Offence("spam", said, (*_ids(lately), this), flood=True)
    return None


def _ids(seen: Iterable[Seen]) -> tuple[tuple[str, str], ...]:
    return tuple((each.channel_id, each.message_id) for each in seen)
