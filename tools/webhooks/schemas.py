"""What the webhooks tools return."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel

from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Markdown, Result, ShownOnce, Table
from tools.webhooks.reading import Value
from tools.webhooks.signatures import Form


class Webhook(BaseModel):
    """A webhook, without its secret."""

    id: str
    name: str
    form: Form
    where: dict[str, Value]
    address: str
    reachable: bool
    """Whether the address is one that others can reach, as far as the settings say."""
    problem: str
    previous_until: datetime | None
    """Until when the secret before this one works too."""
    deliveries: int = 0
    last_at: datetime | None = None
    created_at: datetime


class WebhookMade(Result):
    """A webhook with its secret, which is shown this once."""

    webhook: Webhook
    secret: Annotated[str, ShownOnce("Get a new one with /webhooks_rotate.")]

    def render(self) -> Sequence[Block]:
        """Show the address, the secret, and what to do with them."""
        hook = self.webhook
        # Address, secret and name are ours and hold nothing that Markdown reads.
        lines = [
            f"The webhook **{escape(hook.name)}** takes signed deliveries ({hook.form}).",
            f"- Address: `{hook.address}`",
            f"- Secret, shown this once: `{self.secret}`"
            if self.secret
            else "- Secret: the one you gave.",
            f'- Start an agent with it: `on_event=webhook.received where={{"hook": '
            f'"{hook.name}"}}`',
        ]
        if hook.previous_until is not None:
            lines.append(f"- The secret before works until {as_text(hook.previous_until)}.")
        if not hook.reachable:
            lines.append(f"- {_EXPOSE}")
        return [Markdown(text="\n".join(lines))]


class WebhookList(Result):
    """The webhooks there are."""

    webhooks: list[Webhook]

    def render(self) -> Sequence[Block]:
        """Show a table, or how to make the first."""
        if not self.webhooks:
            return [Markdown(text="There are no webhooks. Make one with `/webhooks_create`.")]
        columns = ["Name", "Form", "Address", "Only where", "Deliveries", "Last", "Problem"]
        rows = [
            [
                hook.name,
                hook.form,
                hook.address,
                ", ".join(f"{path} = {value}" for path, value in hook.where.items()) or "–",
                str(hook.deliveries),
                as_text(hook.last_at),
                hook.problem or "–",
            ]
            for hook in self.webhooks
        ]
        blocks: list[Block] = [Table(title="Webhooks", columns=columns, rows=rows)]
        if not all(hook.reachable for hook in self.webhooks):
            blocks.append(Markdown(text=_EXPOSE))
        return blocks


class WebhookDeleted(Result):
    """A webhook that is gone."""

    name: str

    def render(self) -> Sequence[Block]:
        """Say it in a sentence."""
        return [Markdown(text=f"The webhook **{escape(self.name)}** takes nothing any more.")]


class Delivery(Result):
    """What another system told: text from outside."""

    id: str
    webhook: str
    kind: str
    at: datetime
    body: dict[str, object]

    def render(self) -> Sequence[Block]:
        """Show what was sent, as a table of its plain fields."""
        rows = [[path, value] for path, value in _flat("", self.body)]
        title = f"{self.webhook}: {self.kind or 'delivery'} at {as_text(self.at)}"
        return [Table(title=title, columns=["Field", "Value"], rows=rows)]


_EXPOSE = (
    "The server listens on this machine only. Let others reach `/api/hooks` through "
    "Tailscale Funnel (`tailscale funnel 8420`) or Caddy, and set JARVIS_WEBHOOKS_URL to that "
    "address; the manual says how under Webhooks."
)


def _flat(path: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            row
            for name, inner in value.items()
            for row in _flat(f"{path}.{name}" if path else str(name), inner)
        ]
    return [(path or "–", as_text(value))]
