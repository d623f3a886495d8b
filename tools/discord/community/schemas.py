"""What the community tools return."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from pydantic import Field

from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Markdown, Plot, Result, Table
from tools.discord.community.actions import Action
from tools.discord.community.counting import Counted
from tools.discord.community.rules import Community, Moderation, Step

_MODES = {
    "off": "off",
    "tell": "on, it only tells what it would do",
    "act": "on, and it acts",
}


class CommunitySettings(Result):
    """What the community bot does on a server."""

    server: str
    settings: Community
    owner: str = ""
    done: str = ""

    def render(self) -> Sequence[Block]:
        """Say it in lines, and the commands in a table."""
        head = f"**{escape(self.server)}** {escape(self.done)}".strip()
        blocks: list[Block] = [
            Markdown(text="\n".join([head, "", *lines_of(self.settings, self.owner)]))
        ]
        if self.settings.commands:
            rows = [
                [f"!{each.name}", each.text, f"{each.cooldown_seconds} s", ", ".join(each.roles)]
                for each in self.settings.commands
            ]
            columns = ["Command", "Answer", "Cooldown", "Roles"]
            blocks.append(Table(title="Commands", columns=columns, rows=rows))
        return blocks


def lines_of(settings: Community, owner: str = "") -> list[str]:
    """Return what is set, a line each."""
    welcome, role = settings.welcome, settings.autorole
    where = "by direct message" if welcome.channel is None else f"in channel {welcome.channel}"
    greets = f"“{escape(welcome.text)}” {where}" if welcome.text else "nobody is greeted"
    gets = "none" if role.role is None else f"role {role.role}"
    if role.role and role.after_minutes:
        gets += f" after {role.after_minutes} minutes"
    if role.role and role.after_rules:
        gets += " once they agreed to the rules"
    lines = [
        f"- welcome: {greets}",
        f"- role of new members: {gets}",
        f"- moderation: {_MODES[settings.moderation.mode]}",
        *(rule_lines(settings.moderation) if settings.moderation.mode != "off" else []),
        f"- commands: {len(settings.commands)}",
        f"- counting: {'on' if settings.count else 'off'}",
    ]
    if owner:
        lines.append(f"- it acts with the rights of {escape(owner)}, for nothing but this")
    return lines


def rule_lines(rules: Moderation) -> list[str]:
    """Return the rules of moderation, a line each."""
    spam, raid = rules.spam, rules.raid
    invites = "no invitations" if rules.links.invites else "invitations allowed"
    denied = f", not to {escape(', '.join(rules.links.deny))}" if rules.links.deny else ""
    only = (
        f", only to {escape(', '.join(rules.links.allow_only))}" if rules.links.allow_only else ""
    )
    brake = f"{raid.joins} joins in {raid.seconds} s" if raid.joins else "off"
    return [
        f"  - spam: over {spam.messages} messages in {spam.seconds} s, "
        f"{spam.repeats} times the same, over {spam.mentions} mentions (0 is off)",
        f"  - links: {invites}{denied}{only}",
        f"  - words: {len(rules.words)} listed",
        f"  - raid brake: {brake}",
        f"  - an offence is {'removed and ' if rules.delete else ''}answered with: "
        f"{', then '.join(map(step_text, rules.steps))}; counted for {rules.decay_hours} hours",
        f"  - log channel: {rules.log_channel or 'none'}",
    ]


def step_text(step: Step) -> str:
    """Return a step as people write it."""
    return f"timeout {step.minutes} min" if step.penalty == "timeout" else step.penalty


class ActionList(Result):
    """What was done on a server."""

    server: str
    actions: list[Action]

    def render(self) -> Sequence[Block]:
        """Show a table, the newest first."""
        if not self.actions:
            return [Markdown(text=f"Nothing was done on {escape(self.server)} yet.")]
        rows = [
            [
                as_text(each.at),
                each.kind,
                each.target_name or each.target_id,
                each.reason,
                each.by or "by itself",
                each.state,
                each.problem,
                each.id,
            ]
            for each in self.actions
        ]
        columns = ["When", "What", "Whom", "Why", "By", "State", "Problem", "Id"]
        return [Table(title=f"On {self.server}", columns=columns, rows=rows)]


class ActionDone(Result):
    """One thing on a server and how it is now."""

    action: Action

    def render(self) -> Sequence[Block]:
        """Say it in a line."""
        action = self.action
        whom = escape(action.target_name or action.target_id)
        problem = f" ({escape(action.problem)})" if action.problem else ""
        said = f"**{action.kind}** {whom}: {action.state}{problem} `{action.id}`"
        return [Markdown(text=said)]


class Stats(Result):
    """Counts of a server."""

    server: str
    first: date
    days: int
    counts: list[Counted]
    channels: dict[str, str] = Field(default_factory=dict)
    counting: bool = True

    def render(self) -> Sequence[Block]:
        """Show days as a plot, and channels and commands as tables."""
        if not self.counts:
            hint = "" if self.counting else " Switch counting on with /discord_set_settings."
            return [Markdown(text=f"Nothing was counted on {escape(self.server)}.{hint}")]
        busy = [
            [self.channels.get(key, key), str(count)]
            for key, count in _sums(self.counts, "message").most_common(10)
        ]
        used = [[f"!{k}", str(n)] for k, n in _sums(self.counts, "command").most_common(10)]
        totals = {kind: sum(self._per_day(kind)) for kind in ("message", "join", "leave")}
        head = (
            f"**{escape(self.server)}**, {self.days} days: {totals['message']} messages, "
            f"{totals['join']} joined, {totals['leave']} left."
        )
        blocks: list[Block] = [Markdown(text=head), Plot(title="Per day", figure=self.figure())]
        if busy:
            blocks.append(Table(title="Channels", columns=["Channel", "Messages"], rows=busy))
        if used:
            blocks.append(Table(title="Commands", columns=["Command", "Uses"], rows=used))
        return blocks

    def figure(self) -> dict[str, object]:
        """Return a Plotly figure of messages, joins and leaves per day."""
        days = [(self.first + timedelta(days=n)).isoformat() for n in range(self.days)]
        traces = [
            {"type": "bar", "name": name, "x": days, "y": self._per_day(kind)}
            for kind, name in (("message", "messages"), ("join", "joined"), ("leave", "left"))
        ]
        return {"data": traces, "layout": {"barmode": "group"}}

    def _per_day(self, kind: str) -> list[int]:
        found: Counter[date] = Counter()
        for each in self.counts:
            if each.kind == kind:
                found[each.day] += each.count
        return [found[self.first + timedelta(days=n)] for n in range(self.days)]


def _sums(counts: Iterable[Counted], kind: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in counts:
        if each.kind == kind:
            found[each.key] += each.count
    return found
