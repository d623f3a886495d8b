"""The stored secrets: values go in, and come out only for the executor and the operator."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Delete, Select, and_, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from nebula.errors import Conflict, InvalidInput, NotFound
from nebula.secrets.models import SecretRow, SecretUse, SecretVersion
from nebula.secrets.secret import Secret, Use, known_as, reference, refusal
from nebula.secrets.vault import Vault
from nebula.secrets.watch import Watch, watching

if TYPE_CHECKING:
    from nebula.db.engine import Database
    from nebula.settings import Settings

# A change of keys locks the table against writers: who seals inside this lock has the right key.
_WRITING = text("LOCK TABLE secrets_versions IN ROW EXCLUSIVE MODE")


class Secrets:
    """The secrets of this installation."""

    def __init__(self, db: "Database", vault: Vault, watch: Watch) -> None:
        """Take the database that holds them, what seals them, and what this process hides."""
        self._db = db
        self._vault = vault
        self.watch = watch

    async def all(self, environment: str | None = None) -> list[Secret]:
        """Return what is stored, by environment and name."""
        query = _shown().order_by(SecretRow.environment, SecretRow.name)
        if environment is not None:
            query = query.where(SecretRow.environment == environment.lower())
        async with self._db.session() as session:
            return [Secret(**row) for row in (await session.execute(query)).mappings()]

    async def put(
        self,
        name: str,
        value: str,
        *,
        by: str,
        environment: str = "default",
        note: str | None = None,
        features: Collection[str] | None = None,
        replace: bool = True,
    ) -> Secret:
        """Store a value as the newest version; the one before it is kept, older ones are not.

        Raises:
            InvalidInput: when the value is too short to be told from text, or a name is none.
            Conflict: when it exists and may not be replaced.
        """
        key = known_as(environment, name)
        if why := refusal(value):
            raise InvalidInput(
                f"The value of {name} cannot be kept as a secret: {why}.",
                hint="Such a value is found in ordinary text, so it cannot be hidden there.",
            )
        async with self._db.session() as session:
            await session.execute(_WRITING)
            before = await session.get(SecretRow, key, with_for_update=True)
            if before is not None and not replace:
                raise Conflict(f"{reference(*key)} is there already.", hint="Say that it may go.")
            version = await self._add(session, key, value, by)
            given = {"note": note, "features": None if features is None else sorted(features)}
            kept = {name: value for name, value in given.items() if value is not None}
            head = {"version": version, "changed_at": func.clock_timestamp(), **kept}
            made = insert(SecretRow).values(environment=key[0], name=key[1], **head)
            await session.execute(
                made.on_conflict_do_update(index_elements=["environment", "name"], set_=head)
            )
            keep = [version] if before is None else [version, before.version]
            await session.execute(_older(key, keep))
            return await _one(session, key)

    async def restore(self, name: str, *, environment: str = "default") -> Secret:
        """Go back to the version before the present one; doing it again comes back.

        Raises:
            NotFound: when there is no such secret.
            Conflict: when there is no version before.
        """
        key = known_as(environment, name)
        async with self._db.session() as session:
            await session.get(SecretRow, key, with_for_update=True)
            secret = await _one(session, key)
            if secret.previous is None:
                raise Conflict(f"{reference(*key)} has no earlier version.")
            change = {"version": secret.previous, "changed_at": func.clock_timestamp()}
            await session.execute(update(SecretRow).where(_is(key)).values(**change))
            return await _one(session, key)

    async def share(
        self, name: str, features: Collection[str], *, environment: str = "default"
    ) -> Secret:
        """Say which features' tools may receive a secret, whoever asks; the value stays.

        Raises:
            NotFound: when there is no such secret.
        """
        key = known_as(environment, name)
        change = update(SecretRow).where(_is(key))
        async with self._db.session() as session:
            await session.execute(change.values(features=sorted(features)))
            return await _one(session, key)

    async def remove(self, name: str, *, environment: str = "default") -> Secret:
        """Delete a secret with its versions; who used it stays on record.

        Raises:
            NotFound: when there is no such secret.
        """
        key = known_as(environment, name)
        async with self._db.session() as session:
            secret = await _one(session, key)
            await session.execute(delete(SecretRow).where(_is(key)))
        return secret

    async def get(self, name: str, *, environment: str = "default") -> Secret:
        """Return what is known of one.

        Raises:
            NotFound: when there is no such secret.
        """
        async with self._db.session() as session:
            return await _one(session, known_as(environment, name))

    async def open(self, version: int) -> str:
        """Return a value, for the executor and for the operator at their own terminal.

        Raises:
            Conflict: when the version is gone, or cannot be opened with the present key.
        """
        async with self._db.session() as session:
            sealed = await session.scalar(
                select(SecretVersion.sealed).where(SecretVersion.version == version)
            )
        if sealed is None:
            raise Conflict("The secret was changed or deleted just now.", hint="Ask again.")
        return await self._vault.open(sealed)

    async def fingerprints(self, environment: str) -> dict[str, bytes]:
        """Return the keyed hashes of an environment's present values, by name."""
        query = select(SecretRow.name, SecretVersion.fingerprint).where(
            SecretVersion.version == SecretRow.version,
            SecretRow.environment == environment.lower(),
        )
        async with self._db.session() as session:
            return {row.name: row.fingerprint for row in await session.execute(query)}

    async def fingerprint(self, value: str) -> bytes:
        """Return the keyed hash of a value, to compare it with stored ones."""
        return await self._vault.fingerprint(value)

    async def used(self, uses: Sequence[Use]) -> None:
        """Record that a tool is given secrets."""
        rows = [use.model_dump(exclude={"at"}) for use in uses]
        async with self._db.session() as session:
            await session.execute(insert(SecretUse), rows)

    async def uses(
        self,
        name: str | None = None,
        *,
        environment: str | None = None,
        version: int | None = None,
        limit: int = 50,
    ) -> list[Use]:
        """Return who was given which secret when, newest first."""
        query = select(SecretUse).order_by(SecretUse.id.desc()).limit(limit)
        if name is not None:
            query = query.where(SecretUse.name == name.lower())
        if environment is not None:
            query = query.where(SecretUse.environment == environment.lower())
        if version is not None:
            query = query.where(SecretUse.version == version)
        async with self._db.session() as session:
            rows = (await session.scalars(query)).all()
        return [Use.model_validate(row, from_attributes=True) for row in rows]

    async def _add(self, session: AsyncSession, key: tuple[str, str], value: str, by: str) -> int:
        made = insert(SecretVersion).values(
            environment=key[0],
            name=key[1],
            sealed=await self._vault.seal(value),
            fingerprint=await self._vault.fingerprint(value),
            set_by=by,
        )
        return (await session.scalars(made.returning(SecretVersion.version))).one()


@asynccontextmanager
async def open_secrets(db: "Database", settings: "Settings") -> AsyncIterator[Secrets]:
    """Hand out the secrets, and hide every one of them until the block ends."""
    vault = Vault.of(settings)
    async with watching(db, vault, settings) as watch:
        yield Secrets(db, vault, watch)


def _is(key: tuple[str, str]) -> ColumnElement[bool]:
    return and_(SecretRow.environment == key[0], SecretRow.name == key[1])


def _older(key: tuple[str, str], keep: Sequence[int]) -> Delete:
    return delete(SecretVersion).where(
        SecretVersion.environment == key[0],
        SecretVersion.name == key[1],
        SecretVersion.version.not_in(keep),
    )


def _shown() -> Select[Any]:
    """Select secrets with who set the present version, and the number of the one before."""
    other = aliased(SecretVersion)
    previous = select(func.max(other.version)).where(
        other.environment == SecretRow.environment,
        other.name == SecretRow.name,
        other.version != SecretRow.version,
    )
    return select(
        SecretRow.name,
        SecretRow.environment,
        SecretRow.version,
        SecretRow.features,
        SecretRow.note,
        SecretVersion.set_by,
        SecretVersion.set_at,
        previous.scalar_subquery().label("previous"),
    ).join(SecretVersion, SecretVersion.version == SecretRow.version)


async def _one(session: AsyncSession, key: tuple[str, str]) -> Secret:
    row = (await session.execute(_shown().where(_is(key)))).mappings().one_or_none()
    if row is None:
        raise NotFound(
            f"There is no {reference(*key)}", hint="See `jarvis secrets list` for those there are."
        )
    return Secret(**row)
