"""Notifications: the channels, the templates, and sending.

A model names channels and never addresses: where a message can go was decided by a person.
"""

import asyncio
from typing import Annotated

from pydantic import Field, SecretStr

from nebula.errors import InvalidInput
from nebula.policy.selectors import Kind
from nebula.secrets.vault import Vault
from nebula.tool.context import Context
from nebula.tool.definition import Audience, Effect, EffectKind, tool
from tools.notify.schemas import (
    ChannelChange,
    ChannelList,
    Preview,
    SendReport,
    TemplateList,
)
from tools.notify.service import Channels
from tools.notify.templates import compose, entries

Body = Annotated[str, Field(min_length=1, max_length=4000, description="What to say")]
Title = Annotated[str, Field(max_length=200, description="A headline; the template has one")]
TemplateName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9_-]{1,40}$",
        description="alert, warning, success, info, or one of your own templates",
    ),
]
Fields = Annotated[
    dict[str, str], Field(max_length=20, description="Facts to list under the message, by name")
]
ChannelName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="The channel's name, e.g. discord"
    ),
]


def _channels(ctx: Context) -> Channels:
    return Channels(ctx.parts.db, Vault.of(ctx.parts.settings), ctx.http)


@tool(
    effect=Effect.WRITE,
    outside=True,
    kind=EffectKind.OPAQUE,
    selectors={"channels": Kind.CHANNEL},
    rest="POST /notifications/send",
    timeout=60.0,
    says=[
        "(notify|message|ping) {channels} (that|saying|with|about) {message}",
        "tell {channels} (that|saying) {message}",
        "send [a|an] [message|notification] to {channels} (that says|saying|with|that) {message}",
        "post {message} (to|on|in) {channels}",
    ],
    examples=[
        "notify discord that the render is done",
        "send an alert to ops saying the disk is full",
        "email me when you are finished, subject backup",
        "send a notification",
        "tell the team we are live",
        "ping everyone that the server restarts tonight",
        "shoot me an e-mail with the summary",
    ],
)
async def notify_send(
    ctx: Context,
    message: Body,
    channels: Annotated[
        list[ChannelName],
        Field(max_length=10, description="Names of channels; the only one there is when left out"),
    ] = [],  # noqa: B006 - read only
    *,
    title: Title = "",
    template: TemplateName = "info",
    fields: Fields = {},  # noqa: B006 - read only
) -> SendReport:
    """Send a message to one or several notification channels: e-mail, Discord, phone and more.

    Every channel reports sent, failed or unknown by itself; unknown is never sent again.
    """
    home = ctx.parts.settings.home
    composed = await asyncio.to_thread(compose, home, template, title, message, fields)
    deliveries = await _channels(ctx).deliver(channels, composed)
    return SendReport(title=composed.title, deliveries=deliveries)


@tool(
    effect=Effect.READ,
    rest="GET /notifications/channels",
    says=[
        "(list|show) [me] [the|my|all] [notification] channels",
        "(which|what) [notification] channels (are there|do i have|are configured)",
    ],
    examples=[
        "where can you send notifications?",
        "which notification channels are set up",
        "can you reach me on discord or by mail",
    ],
)
async def notify_list_channels(ctx: Context) -> ChannelList:
    """List the notification channels: name, kind, where each goes, and how it last went."""
    return ChannelList(channels=await _channels(ctx).all())


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    audience=Audience.HUMAN,
    permission="notify:admin",
    selectors={"name": Kind.CHANNEL, "address": Kind.URL},
    egress=["address"],
    rest="PUT /notifications/channels/{name}",
    says=[
        "(add|set up|configure|create|connect) [a|the] [notification] channel [called|named] {name}",
        "(remove|delete) [the] [notification] channel {name}",
    ],
    examples=[
        "connect my Discord webhook for notifications",
        "set up e-mail notifications over SMTP",
        "switch the ops channel off",
    ],
)
async def notify_set_channel(
    ctx: Context,
    name: ChannelName,
    address: Annotated[
        SecretStr | None,
        Field(
            max_length=2000,
            description="A Discord webhook URL, mailtos://user:password@host?to=…, or any "
            "apprise URL; kept as it is when left out",
        ),
    ] = None,
    enabled: Annotated[bool, Field(description="Whether messages go there")] = True,
    remove: Annotated[bool, Field(description="Forget the channel and its address")] = False,
) -> ChannelChange:
    """Add, change, switch off or remove a notification channel; its address is stored encrypted."""
    channels = _channels(ctx)
    if remove:
        if address is not None:
            raise InvalidInput("Give an address or remove the channel, not both")
        await channels.remove(name)
        return ChannelChange(name=name, done="was removed")
    if address is None:
        await channels.enable(name, enabled)
        return ChannelChange(name=name, done="is on" if enabled else "is off")
    made = await channels.put(name, address.get_secret_value(), enabled=enabled)
    return ChannelChange(name=name, done=f"now goes to {made.target}")


@tool(
    effect=Effect.READ,
    rest="GET /notifications/templates",
    says=[
        "(list|show) [me] [the|all] [notification|message] templates",
        "which [notification|message] templates are there",
    ],
    examples=["what kinds of notifications can you send", "show the alert and success templates"],
)
async def notify_list_templates(ctx: Context) -> TemplateList:
    """List the templates for notifications, built in and your own."""
    return TemplateList(templates=await asyncio.to_thread(entries, ctx.parts.settings.home))


@tool(
    effect=Effect.READ,
    rest="POST /notifications/preview",
    says=[
        "preview [a|an|the] {template} [notification|message] (saying|that says|with) {message}",
        "how would [a|an] {template} (saying|that says|with) {message} look",
    ],
    examples=[
        "show me what the alert would look like before sending",
        "preview a success message",
    ],
)
async def notify_preview(
    ctx: Context,
    message: Body,
    template: TemplateName = "info",
    title: Title = "",
    fields: Fields = {},  # noqa: B006 - read only
) -> Preview:
    """Show how a notification would read, without sending it."""
    home = ctx.parts.settings.home
    composed = await asyncio.to_thread(compose, home, template, title, message, fields)
    return Preview(template=template, title=composed.title, body=composed.text)
