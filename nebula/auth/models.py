"""Tables of people, their sessions, keys and links. Tokens are stored hashed only."""

from datetime import datetime

from sqlalchemy import ARRAY, DateTime, ForeignKey, Text, func, true
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

MOMENT = DateTime(timezone=True)


class UserRow(Base):
    """A person who may sign in."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(Text, unique=True)
    """The name as it is compared: case-folded, look-alike letters made equal."""
    role: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(server_default=true())
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    last_sign_in_at: Mapped[datetime | None] = mapped_column(MOMENT)


class SessionRow(Base):
    """A signed-in browser or terminal."""

    __tablename__ = "auth_sessions"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    token_hash: Mapped[str] = mapped_column(Text, unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    device: Mapped[str] = mapped_column(Text, server_default="")
    address: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    proven_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    """When its person last showed who they are: by signing in, or with the password again."""
    expires_at: Mapped[datetime] = mapped_column(MOMENT)
    revoked_at: Mapped[datetime | None] = mapped_column(MOMENT)


class KeyRow(Base):
    """An API key; it never grants more than its owner has."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    key_hash: Mapped[str] = mapped_column(Text, unique=True)
    prefix: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    used_at: Mapped[datetime | None] = mapped_column(MOMENT)
    expires_at: Mapped[datetime | None] = mapped_column(MOMENT)
    revoked_at: Mapped[datetime | None] = mapped_column(MOMENT)


class LinkRow(Base):
    """A sign-in link that works once."""

    __tablename__ = "auth_links"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    token_hash: Mapped[str] = mapped_column(Text, unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(MOMENT)
    used_at: Mapped[datetime | None] = mapped_column(MOMENT)


class AttemptRow(Base):
    """How often signing in failed lately, per name and per address."""

    __tablename__ = "auth_attempts"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())


class RoleFeaturesRow(Base):
    """The features a role sees; a role without a row sees all."""

    __tablename__ = "auth_role_features"

    role: Mapped[str] = mapped_column(Text, primary_key=True)
    features: Mapped[list[str]] = mapped_column(ARRAY(Text))


class SessionGrantRow(Base):
    """What a conversation is narrowed to; one without a row may do what its person may."""

    __tablename__ = "auth_session_grants"

    session_id: Mapped[str] = mapped_column(Text, primary_key=True)
    allowed: Mapped[list[str]] = mapped_column(ARRAY(Text))
    denied: Mapped[list[str]] = mapped_column(ARRAY(Text))
    changed_at: Mapped[datetime] = mapped_column(
        MOMENT, server_default=func.clock_timestamp(), index=True
    )
