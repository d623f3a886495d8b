"""The one error shape, for everything that can go wrong at a door."""

from typing import Any
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from nebula.errors import InternalError, InvalidInput, NebulaError, NotFound

log = structlog.get_logger(__name__)


class FieldProblem(BaseModel):
    """One argument at fault."""

    field: str
    problem: str


class Problem(BaseModel):
    """What every error looks like."""

    code: str = Field(description="Stable, for programs: not_found, permission_denied, …")
    detail: str = Field(description="What happened, for people and models")
    retryable: bool = Field(description="Whether the same request may work later")
    hint: str | None = Field(None, description="What to do next")
    fields: list[FieldProblem] | None = Field(None, description="The arguments at fault")
    approval_id: str | None = Field(None, description="With 202: the approval a person decides")


class UnsupportedMediaType(NebulaError):
    """The body is not of a kind this takes."""

    code, status = "unsupported_media_type", 415


class MethodNotAllowed(NebulaError):
    """This path has no such method."""

    code, status = "method_not_allowed", 405


class BadRequest(NebulaError):
    """The request cannot be understood."""

    code, status = "bad_request", 400


def problem(error: NebulaError, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as its response."""
    more = dict(headers or {})
    if error.status == 401:
        more["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.payload(), error.status, headers=more)


def crash(error: BaseException, **known: object) -> InternalError:
    """Log a bug under a reference and return what the caller may know of it."""
    reference = uuid4().hex[:12]
    log.error("door_crashed", reference=reference, exc_info=error, **known)
    return InternalError(reference)


def invalid(error: ValidationError) -> InvalidInput:
    """Turn a validation error into one that names every field at fault."""
    return _invalid(error.errors(include_url=False, include_context=False, include_input=False))


def install(app: FastAPI) -> None:
    """Give an application the one error shape."""

    async def on_nebula(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, NebulaError)
        return problem(error)

    async def on_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return problem(_of_status(error), dict(error.headers or {}))

    async def on_invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return problem(_invalid(error.errors()))

    app.add_exception_handler(NebulaError, on_nebula)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)


def _of_status(error: HTTPException) -> NebulaError:
    if error.status_code == 404:
        return NotFound("There is nothing at this address", hint="See /api/docs for what there is.")
    if error.status_code == 405:
        return MethodNotAllowed()
    return BadRequest(str(error.detail))


def _invalid(errors: Any) -> InvalidInput:
    fields = [
        {"field": _place(entry["loc"]), "problem": str(entry["msg"])} for entry in list(errors)[:20]
    ]
    told = "; ".join(f"{entry['field']}: {entry['problem']}" for entry in fields[:5])
    return InvalidInput(f"The request does not fit: {told}", fields=fields)


def _place(loc: tuple[str | int, ...]) -> str:
    parts = [str(part) for part in loc if part not in {"body", "query", "path", "header"}]
    return ".".join(parts) or "body"
