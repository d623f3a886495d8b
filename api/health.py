"""Whether this process lives, and whether it can work."""

import asyncio
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text

from nebula.db.engine import Database
from nebula.db.migrate import script
from nebula.errors import NebulaError

router = APIRouter(tags=["health"])

_PATIENCE = 3.0


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """What works; anything but ok comes with a reason."""

    status: Annotated[str, Field(description="ok, or unavailable with status 503")]
    checks: dict[str, str] = Field(description="Each part: ok, or why not")


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process answers."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
async def readyz(request: Request, response: Response) -> Readiness:
    """Say whether requests can be served: the database answers and has every migration."""
    doors = getattr(request.app.state, "doors", None)
    if doors is None:
        checks = {"start": "Jarvis is still starting"}
    else:
        checks = await _database(doors.app.parts.db)
    if any(told != "ok" for told in checks.values()):
        response.status_code = 503
        return Readiness(status="unavailable", checks=checks)
    return Readiness(status="ok", checks=checks)


async def _database(db: Database) -> dict[str, str]:
    try:
        async with asyncio.timeout(_PATIENCE):
            heads = await asyncio.to_thread(_heads)
            async with db.session() as session:
                applied = set(
                    await session.scalars(text("SELECT version_num FROM alembic_version"))
                )
    except NebulaError as error:
        return {"database": str(error)}
    except TimeoutError:
        return {"database": f"The database did not answer within {_PATIENCE:g} seconds"}
    behind = "Migrations are missing: run `jarvis migrate`"
    return {"database": "ok", "migrations": "ok" if applied == heads else behind}


@cache
def _heads() -> set[str]:
    """Return the newest migration of every branch of this checkout."""
    return set(script().get_heads())
