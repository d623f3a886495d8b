"""Tables of the Discord door. Ids of Discord are kept as text, as its API writes them."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, DateTime, Index, Text, func, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

_MOMENT = DateTime(timezone=True)


class DiscordAccount(Base):
    """A Discord account and the person who proved that it is theirs."""

    __tablename__ = "discord_accounts"

    discord_id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column(Text, index=True)
    name: Mapped[str] = mapped_column(Text)
    """What it was called on Discord when it was linked."""
    linked_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class DiscordCode(Base):
    """A code that links an account once; kept hashed."""

    __tablename__ = "discord_codes"

    code_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(_MOMENT)
    used_at: Mapped[datetime | None] = mapped_column(_MOMENT)


class DiscordServer(Base):
    """A server the bot was invited to, and where it answers whom there."""

    __tablename__ = "discord_servers"
    __table_args__ = (CheckConstraint("answer_in in ('thread', 'reply')", name="answer_in"),)

    guild_id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    present: Mapped[bool] = mapped_column(server_default=true())
    enabled: Mapped[bool] = mapped_column(server_default=true())
    channels: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    """Ids of the channels it answers in; empty for all."""
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    """Ids of the roles it answers, one of which is enough; empty for everyone."""
    answer_in: Mapped[str] = mapped_column(Text, server_default="thread")
    changed_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class DiscordSession(Base):
    """The session of one person in one place: a direct message, a thread, a chain of replies."""

    __tablename__ = "discord_sessions"

    place: Mapped[str] = mapped_column(Text, primary_key=True)
    discord_id: Mapped[str] = mapped_column(Text, primary_key=True)
    session_id: Mapped[str] = mapped_column(Text, index=True)
    guild_id: Mapped[str | None] = mapped_column(Text)
    channel_id: Mapped[str] = mapped_column(Text)
    """Where messages of it arrive: the direct message, the thread, or the channel."""
    used_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class DiscordTurn(Base):
    """One message (or command) that began a turn, and what of its answer is on Discord."""

    __tablename__ = "discord_turns"
    __table_args__ = (
        CheckConstraint("state in ('open', 'waiting', 'shown')", name="state"),
        Index("ix_discord_turns_shown", "shown", postgresql_using="gin"),
        Index("ix_discord_turns_unfinished", "at", postgresql_where="state <> 'shown'"),
    )

    message_id: Mapped[str] = mapped_column(Text, primary_key=True)
    turn_id: Mapped[str] = mapped_column(Text)
    session_id: Mapped[str] = mapped_column(Text, index=True)
    discord_id: Mapped[str] = mapped_column(Text)
    place: Mapped[str] = mapped_column(Text)
    channel_id: Mapped[str] = mapped_column(Text, index=True)
    shown: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    """The messages that show the answer, in order."""
    settled: Mapped[int] = mapped_column(server_default="0")
    """How many of them stand above a question that was decided, and change no more."""
    state: Mapped[str] = mapped_column(Text, server_default="open")
    at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class DiscordCard(Base):
    """The message that asks about an approval."""

    __tablename__ = "discord_cards"

    approval_id: Mapped[str] = mapped_column(Text, primary_key=True)
    channel_id: Mapped[str] = mapped_column(Text)
    message_id: Mapped[str] = mapped_column(Text)
    discord_id: Mapped[str] = mapped_column(Text)
    """Whose question it is: as them the approval is looked up again."""
    expires_at: Mapped[datetime] = mapped_column(_MOMENT)
    closed: Mapped[bool] = mapped_column(server_default="false")


class DiscordBot(Base):
    """The one bot: which commands Discord has of it, and how it is."""

    __tablename__ = "discord_bot"
    __table_args__ = (CheckConstraint("one", name="only_row"),)

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    application_id: Mapped[str] = mapped_column(Text, server_default="")
    name: Mapped[str] = mapped_column(Text, server_default="")
    commands_sha256: Mapped[str] = mapped_column(Text, server_default="")
    state: Mapped[str] = mapped_column(Text, server_default="off")
    problem: Mapped[str] = mapped_column(Text, server_default="")
    at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class DiscordJob(Base):
    """The message that follows a background job."""

    __tablename__ = "discord_jobs"
    __table_args__ = (
        Index("ix_discord_jobs_open", "at", postgresql_where="not closed"),
        Index("ix_discord_jobs_message", "message_id"),
    )

    job_id: Mapped[str] = mapped_column(Text, primary_key=True)
    channel_id: Mapped[str] = mapped_column(Text, primary_key=True)
    message_id: Mapped[str] = mapped_column(Text)
    discord_id: Mapped[str] = mapped_column(Text)
    """Who began it there: as them the job is looked up."""
    closed: Mapped[bool] = mapped_column(server_default="false")
    at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class DiscordCommunity(Base):
    """What the community bot does on a server, and as whom: whoever set it, cut down."""

    __tablename__ = "discord_communities"

    guild_id: Mapped[str] = mapped_column(Text, primary_key=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    key_id: Mapped[str | None] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(server_default="1")
    changed_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class DiscordAction(Base):
    """Something done on a server, by itself or for somebody; the key makes it one."""

    __tablename__ = "discord_actions"
    __table_args__ = (
        CheckConstraint(
            "state in ('due', 'doing', 'done', 'told', 'failed', 'undone', 'dropped')",
            name="state",
        ),
        Index("ix_discord_actions_due", "not_before", postgresql_where="state in ('due', 'doing')"),
        Index("ix_discord_actions_target", "guild_id", "target_id", "at"),
        Index("ix_discord_actions_at", "guild_id", "at"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    guild_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    target_id: Mapped[str] = mapped_column(Text, server_default="")
    target_name: Mapped[str] = mapped_column(Text, server_default="")
    channel_id: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[str] = mapped_column(Text, server_default="")
    reason: Mapped[str] = mapped_column(Text, server_default="")
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    offence: Mapped[bool] = mapped_column(server_default="false")
    """It counts on the ladder of penalties."""
    by: Mapped[str] = mapped_column(Text, server_default="")
    """Whoever asked for it; empty when the bot did by itself."""
    state: Mapped[str] = mapped_column(Text, server_default="due")
    problem: Mapped[str] = mapped_column(Text, server_default="")
    tries: Mapped[int] = mapped_column(server_default="0")
    not_before: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())


class DiscordCount(Base):
    """How many of something there were on a day; nothing of what was said."""

    __tablename__ = "discord_counts"
    __table_args__ = (
        CheckConstraint("kind in ('message', 'join', 'leave', 'command')", name="kind"),
    )

    guild_id: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    """The channel of messages, the name of a command, else empty."""
    count: Mapped[int]


class DiscordCounter(Base):
    """Which of several bots on one database counts; it holds that for some seconds at a time."""

    __tablename__ = "discord_counter"
    __table_args__ = (CheckConstraint("one", name="only_row"),)

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    holder: Mapped[str] = mapped_column(Text)
    until: Mapped[datetime] = mapped_column(_MOMENT)


class DiscordMessage(Base):
    """A message that a schedule posts."""

    __tablename__ = "discord_messages"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    guild_id: Mapped[str] = mapped_column(Text)
    channel_id: Mapped[str] = mapped_column(Text)
    channel_name: Mapped[str] = mapped_column(Text, server_default="")
    text: Mapped[str] = mapped_column(Text)
    schedule_id: Mapped[str | None] = mapped_column(Text)
    owner_id: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
