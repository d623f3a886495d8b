"""Post on Discord: a message now or at its time, and polls."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from nebula.errors import InvalidInput, NebulaError, NotFound
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown
from tools.discord.client import DiscordRest, Doc
from tools.discord.community.actions import Action, Actions, action_id
from tools.discord.finding import Place
from tools.discord.finding import channel as find_channel
from tools.discord.posting.scheduled import Messages, timing_of
from tools.discord.posting.schemas import Poll, Posted, ScheduledList
from tools.discord.schemas import AnyServer, Server
from tools.discord.servers import Servers

Channel = Annotated[
    str, Field(min_length=1, max_length=100, description="The channel's name or id")
]
Text = Annotated[
    str, Field(min_length=1, max_length=2000, description="What is posted; it mentions nobody")
]
PollId = Annotated[
    str, Field(max_length=40, description="The poll's id act_…; the latest when left out")
]


async def place_versions(ctx: Context, values: Any) -> dict[str, str]:
    """Bind an approval to the channel that a name means now."""
    server, place = await _place(ctx, values.server, values.channel)
    return {"server": server.guild_id, "channel": place.id}


async def place_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show where it would be seen."""
    server, place = await _place(ctx, values.server, values.channel)
    return [Markdown(text=f"Seen by everybody in #{escape(place.name)} on {escape(server.name)}")]


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.KEYED,
    selectors={"server": Kind.WORDS, "channel": Kind.WORDS},
    rest="POST /discord/messages",
    preview=place_preview,
    versions=place_versions,
    says=[
        "(post|send|write|say) {text} (in|to) [the] discord channel {channel} [on {server}]",
        "(post|send|write|say) {text} on discord (in|to) {channel}",
    ],
    examples=["announce on our Discord that the server is back", "write something on discord"],
)
async def discord_send(
    ctx: Context, channel: Channel, text: Text, server: AnyServer = ""
) -> Posted:
    """Post a message in a channel of a Discord server, where everybody there sees it."""
    _, place = await _place(ctx, server, channel)
    sent = await DiscordRest(ctx.parts).send(place.id, text, nonce=_nonce(ctx))
    return Posted(channel=place.name, message_id=str(sent["id"]))


async def time_versions(ctx: Context, values: Any) -> dict[str, str]:
    """Bind an approval to the channel; a time that is none is refused before anybody is asked."""
    timing_of(values.cron, values.timezone, values.at)
    return await place_versions(ctx, values)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    # Until it is posted it can be taken back; then everybody has seen it, and nobody is asked.
    confirm=True,
    selectors={"server": Kind.WORDS, "channel": Kind.WORDS, "text": Kind.WORDS},
    rest="POST /discord/scheduled",
    preview=place_preview,
    versions=time_versions,
    says=[
        "schedule [the] discord message {text} (in|to|for) {channel} (at|with) cron {cron}",
    ],
    examples=[
        "post 'Game night!' in #general on our Discord every Friday at eight",
        "remind the Discord of the meeting tomorrow at noon",
    ],
)
async def discord_schedule_message(  # noqa: PLR0917 - the executor passes them by name
    ctx: Context,
    channel: Channel,
    text: Text,
    cron: Annotated[
        str | None,
        Field(max_length=200, description="Minute, hour, day, month, weekday: '0 20 * * 5'"),
    ] = None,
    timezone: Annotated[str, Field(max_length=60, description="Time zone of cron")] = "UTC",
    at: Annotated[AwareDatetime | None, Field(description="Once, at this moment")] = None,
    server: AnyServer = "",
) -> ScheduledList:
    """Post a message on Discord later: once, or again and again by cron with a time zone."""
    timing = timing_of(cron, timezone, at)
    found, place = await _place(ctx, server, channel)
    messages = Messages(ctx.parts)
    made = await messages.make(ctx.principal, found.guild_id, place, text, timing)
    return ScheduledList(messages=[made], done="It is scheduled.")


@tool(
    effect=Effect.READ,
    rest="GET /discord/scheduled",
    says=["(list|show) [the] scheduled discord messages", "what will be posted on discord"],
    examples=["which messages wait to be posted on Discord?"],
)
async def discord_list_scheduled(ctx: Context, server: AnyServer = "") -> ScheduledList:
    """List the messages that will be posted on Discord, and when."""
    guild_id = (await Servers(ctx.parts.db).find(server)).guild_id if server else None
    return ScheduledList(messages=await Messages(ctx.parts).list(ctx.principal, guild_id))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"message": Kind.ID},
    rest="DELETE /discord/scheduled/{message}",
    says=["(cancel|stop) [the] scheduled discord message {message}"],
    examples=["do not post the game night on Discord any more"],
)
async def discord_cancel_scheduled(
    ctx: Context,
    message: Annotated[str, Field(max_length=40, description="The message's id msg_…")],
) -> ScheduledList:
    """Stop posting a scheduled message on Discord."""
    messages = Messages(ctx.parts)
    await messages.cancel(message, ctx.principal)
    return ScheduledList(messages=await messages.list(ctx.principal), done="It is cancelled.")


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    selectors={"message": Kind.ID},
    timeout=60.0,
    examples=["post the scheduled discord message", "the time of a discord message has come"],
)
async def discord_post(
    ctx: Context,
    message: Annotated[str, Field(max_length=40, description="The message's id msg_…")],
) -> Posted:
    """Post a scheduled message whose time has come; the same call posts it once."""
    kept = await Messages(ctx.parts).get(message)
    actions, own = Actions(ctx.parts.db), action_id("post", ctx.call_id)
    post = Action(
        id=own,
        guild_id=kept.guild_id,
        kind="post",
        target_id=kept.id,
        channel_id=kept.channel_id,
        by=ctx.principal.name,
        state="done",
        detail={},
    )
    if not await actions.decide(post):
        # The same tick again, after a crash: when its message is known, it is not sent anew;
        # otherwise Discord itself recognizes the nonce.
        known = (await actions.get(own)).detail.get("message_id")
        if known:
            return Posted(channel=kept.channel_name, message_id=str(known))
    try:
        sent = await DiscordRest(ctx.parts).send(kept.channel_id, kept.text, nonce=own)
    except NebulaError as error:
        await actions.end(own, "failed", str(error))
        raise
    await actions.end(own, "done")
    await actions.note(own, {"message_id": str(sent["id"])})
    return Posted(channel=kept.channel_name, message_id=str(sent["id"]))


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.KEYED,
    selectors={"server": Kind.WORDS, "channel": Kind.WORDS},
    rest="POST /discord/polls",
    preview=place_preview,
    versions=place_versions,
    says=["(start|make|post) [a] discord poll {question} (in|to) {channel} with {answers}"],
    examples=["ask on our Discord which game we play on Friday", "make a poll on discord"],
)
async def discord_poll(  # noqa: PLR0917 - the executor passes them by name
    ctx: Context,
    channel: Channel,
    question: Annotated[str, Field(min_length=1, max_length=300, description="What is asked")],
    answers: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=55)]],
        Field(min_length=1, max_length=10, description="What can be answered"),
    ],
    hours: Annotated[int, Field(ge=1, le=768, description="How long it is open")] = 24,
    several: Annotated[bool, Field(description="Whether one may give several answers")] = False,
    server: AnyServer = "",
) -> Poll:
    """Post a poll in a channel of a Discord server."""
    found, place = await _place(ctx, server, channel)
    asked = {
        "question": {"text": question},
        "answers": [{"poll_media": {"text": each}} for each in answers],
        "duration": hours,
        "allow_multiselect": several,
    }
    rest, own = DiscordRest(ctx.parts), action_id("poll", _nonce(ctx))
    sent = await rest.send(place.id, "", nonce=own, poll=asked)
    record = Action(
        id=own,
        guild_id=found.guild_id,
        kind="poll",
        target_name=question[:100],
        channel_id=place.id,
        by=ctx.principal.name,
        state="done",
        detail={"message_id": str(sent["id"]), "channel": place.name},
    )
    await Actions(ctx.parts.db).decide(record)
    return _poll(record, sent)


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /discord/polls",
    says=[
        "[(show|what are)] [the] results of [the] discord poll [{poll}]",
        "how is [the] discord poll [{poll}] going",
    ],
    examples=["what did they vote on Discord?", "who wins the discord poll"],
)
async def discord_get_poll(ctx: Context, poll: PollId = "", server: AnyServer = "") -> Poll:
    """Show the votes of a poll on Discord."""
    record = await _record(ctx, poll, server)
    message = await DiscordRest(ctx.parts).message(
        str(record.channel_id), str(record.detail["message_id"])
    )
    return _poll(record, message)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"poll": Kind.ID, "server": Kind.WORDS},
    rest="POST /discord/polls/end",
    says=["(end|close) [the] discord poll [{poll}]"],
    examples=["the vote on Discord is over, close it"],
)
async def discord_end_poll(ctx: Context, poll: PollId = "", server: AnyServer = "") -> Poll:
    """End a poll on Discord before its time, and show its votes."""
    record = await _record(ctx, poll, server)
    message = await DiscordRest(ctx.parts).end_poll(
        str(record.channel_id), str(record.detail["message_id"])
    )
    return _poll(record, message, ended=True)


async def _place(ctx: Context, server: str, channel: str) -> tuple[Server, Place]:
    found = await Servers(ctx.parts.db).find(server)
    return found, await find_channel(DiscordRest(ctx.parts), found.guild_id, channel)


async def _record(ctx: Context, poll: str, server: str) -> Action:
    actions = Actions(ctx.parts.db)
    if poll:
        record = await actions.get(poll)
        if record.kind != "poll":
            raise InvalidInput(f"{poll} is no poll")
        return record
    found = await Servers(ctx.parts.db).find(server)
    latest = await actions.list(found.guild_id, kinds=("poll",), limit=1)
    if not latest:
        raise NotFound("No poll was posted there", hint="Make one with /discord_poll.")
    return latest[0]


def _poll(record: Action, message: Doc, *, ended: bool = False) -> Poll:
    doc: Doc = message.get("poll") or {}
    results: Doc = doc.get("results") or {}
    votes = {int(each["id"]): int(each["count"]) for each in results.get("answer_counts", ())}
    answers = {
        str(each["poll_media"].get("text", each["answer_id"])): votes.get(int(each["answer_id"]), 0)
        for each in doc.get("answers", ())
    }
    return Poll(
        id=record.id,
        question=record.target_name,
        answers=answers,
        ended=ended or bool(results.get("is_finalized")),
        channel=str(record.detail.get("channel", "")),
    )


def _nonce(ctx: Context) -> str:
    return f"{ctx.principal.id}|{ctx.call_id}"
