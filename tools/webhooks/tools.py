"""Make webhooks, and read what they were told."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr

from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Audience, Effect, EffectKind, tool
from tools.webhooks.reading import Value
from tools.webhooks.schemas import Delivery, WebhookDeleted, WebhookList, WebhookMade
from tools.webhooks.service import Webhooks
from tools.webhooks.signatures import Form

Name = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$", description="A short name: live, deploys")
]
Secret = Annotated[
    SecretStr | None,
    Field(max_length=200, description="The sender's secret, when it gives one; else one is made"),
]


@tool(
    effect=Effect.READ,
    rest="GET /webhooks",
    says=["(list|show) [me] [(all|the|my)] webhooks", "which webhooks are there"],
    examples=["who may start something here from outside?", "when did the live webhook last come"],
)
async def webhooks_list(ctx: Context) -> WebhookList:
    """List the webhooks: address, form, filter, and when something was told last."""
    return WebhookList(webhooks=await Webhooks(ctx.parts).list(ctx.principal))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    audience=Audience.HUMAN,
    selectors={"name": Kind.WORDS, "form": Kind.CHOICE},
    rest="POST /webhooks",
    says=["(make|add|create) [a|the] [new] webhook {name}"],
    examples=[
        "let Twitch tell you when I go live",
        "make a webhook for GitHub pushes",
        "add a webhook named deploys",
    ],
)
async def webhooks_create(
    ctx: Context,
    name: Name,
    form: Annotated[
        Form, Field(description="How the sender signs: Standard Webhooks, GitHub, Twitch EventSub")
    ] = "standard",
    where: Annotated[
        dict[str, Value],
        Field(
            max_length=8,
            description="Fields of the body with their value, others start nothing:"
            " {kind: stream.online, event.type: live}",
        ),
    ] = {},  # noqa: B006 - read only
    secret: Secret = None,
) -> WebhookMade:
    """Make an address at which another system tells what happened, and its secret.

    Agents and workflows wait for its deliveries with the event webhook.received.
    """
    given = None if secret is None else secret.get_secret_value()
    return await Webhooks(ctx.parts).create(ctx.principal, name, form, where, given)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.OPAQUE,
    audience=Audience.HUMAN,
    selectors={"webhook": Kind.WORDS},
    rest="POST /webhooks/{webhook}/rotate",
    says=["(rotate|renew) [the] [secret of the] webhook {webhook}"],
    examples=["give the live webhook a new secret", "the secret of the webhook deploys leaked"],
)
async def webhooks_rotate(
    ctx: Context,
    webhook: Annotated[str, Field(max_length=40, description="The webhook's name, or its id")],
    overlap_hours: Annotated[
        float, Field(ge=0, le=720, description="How long the secret before works too; 0 for a leak")
    ] = 24,
    secret: Secret = None,
) -> WebhookMade:
    """Give a webhook another secret; the one before goes on working for a while."""
    given = None if secret is None else secret.get_secret_value()
    overlap = timedelta(hours=overlap_hours)
    return await Webhooks(ctx.parts).rotate(ctx.principal, webhook, overlap, given)


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.CHECK_THEN_ACT,
    selectors={"webhook": Kind.WORDS},
    rest="DELETE /webhooks/{webhook}",
    says=["(delete|remove) [the] webhook {webhook}"],
    examples=["delete the webhook live", "close the deploys address for good"],
)
async def webhooks_delete(
    ctx: Context,
    webhook: Annotated[str, Field(max_length=40, description="The webhook's name, or its id")],
) -> WebhookDeleted:
    """Delete a webhook and what it was told; its address takes nothing any more."""
    return WebhookDeleted(name=await Webhooks(ctx.parts).delete(ctx.principal, webhook))


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /webhooks/deliveries/{delivery}",
    says=["(show|read) [me] [the] [webhook] delivery {delivery}"],
    examples=[
        "what did the webhook delivery dlv_0a1b2c3d say",
        "read the body of the delivery that started this",
    ],
)
async def webhooks_read(
    ctx: Context,
    delivery: Annotated[str, Field(max_length=40, description="The delivery's id, dlv_…")],
) -> Delivery:
    """Read what a webhook was told: text from outside, as its sender wrote it."""
    return await Webhooks(ctx.parts).delivery(ctx.principal, delivery)
