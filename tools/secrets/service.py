"""The rules of secrets: comparing, importing, and who used what before a rotation."""

import asyncio
import hmac
from collections.abc import Collection, Mapping
from itertools import groupby

from nebula.errors import InvalidInput
from nebula.secrets.secret import Use, refusal
from nebula.secrets.store import Secrets
from tools.secrets.files import read_env
from tools.secrets.schemas import (
    Comparison,
    Difference,
    ImportReport,
    Skipped,
    Standing,
    UseSummary,
)

_MOST_USES = 1000


async def compare(secrets: Secrets, first: str, second: str) -> Comparison:
    """Compare two environments, or an environment with a `.env` file, by keyed hashes.

    Raises:
        NotFound: when the file is not there.
    """
    one, other = await _side(secrets, first), await _side(secrets, second)
    names = [
        Difference(name=name, standing=_standing(name, one, other))
        for name in sorted(one.keys() | other.keys())
    ]
    return Comparison(first=first, second=second, names=names)


async def import_file(
    secrets: Secrets, path: str, environment: str, names: Collection[str], *, by: str, replace: bool
) -> ImportReport:
    """Store the values of a `.env` file; what cannot be a secret or is there already is left out.

    Raises:
        NotFound: when the file is not there.
        InvalidInput: when a name that was asked for is not in it.
    """
    values = await asyncio.to_thread(read_env, path)
    wanted = {name.lower() for name in names} or set(values)
    if missing := sorted(wanted - set(values)):
        raise InvalidInput(f"{path} has no value for {', '.join(missing)}.")
    present = await secrets.fingerprints(environment)
    stored, skipped = [], []
    for name in sorted(wanted):
        why = await _why_not(secrets, name, values[name], present, replace=replace)
        if why is None:
            await secrets.put(name, values[name], by=by, environment=environment)
            stored.append(name)
        else:
            skipped.append(Skipped(name=name, why=why))
    return ImportReport(path=path, environment=environment, stored=stored, skipped=skipped)


async def summed(secrets: Secrets, name: str, environment: str, version: int) -> list[UseSummary]:
    """Return who used a version with which tool, how often and when last."""
    uses = await secrets.uses(name, environment=environment, version=version, limit=_MOST_USES)

    def who(use: Use) -> tuple[str, str]:
        return use.principal, use.tool

    groups = [(key, list(found)) for key, found in groupby(sorted(uses, key=who), who)]
    return [
        UseSummary(principal=key[0], tool=key[1], times=len(found), last=max(u.at for u in found))
        for key, found in groups
    ]


async def _side(secrets: Secrets, where: str) -> Mapping[str, bytes]:
    if ".env" not in where:
        return await secrets.fingerprints(where)
    values = await asyncio.to_thread(read_env, where)
    return {name: await secrets.fingerprint(value) for name, value in values.items()}


def _standing(name: str, one: Mapping[str, bytes], other: Mapping[str, bytes]) -> Standing:
    if name not in other:
        return "only in the first"
    if name not in one:
        return "only in the second"
    return "same" if hmac.compare_digest(one[name], other[name]) else "different"


async def _why_not(
    secrets: Secrets, name: str, value: str, present: Mapping[str, bytes], *, replace: bool
) -> str | None:
    if name in present and hmac.compare_digest(present[name], await secrets.fingerprint(value)):
        return "the same value is stored"
    if name in present and not replace:
        return "another value is stored"
    return refusal(value)
