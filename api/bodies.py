"""Reads request bodies strictly: JSON only, no duplicate keys, bounded depth, one error shape."""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from api.problems import UnsupportedMediaType, invalid
from nebula.errors import InvalidInput
from nebula.tool.arguments import parse

M = TypeVar("M", bound=BaseModel)

TAKES = "x-takes"
"""Marks, in a route's OpenAPI, the model its body is read into; `api.openapi` resolves it."""


async def raw_json(request: Request) -> bytes:
    """Return the body of a request that must be JSON when it is anything at all.

    Raises:
        UnsupportedMediaType: when the body is declared as something else.
        InvalidInput: when the caller leaves before the end of it.
    """
    try:
        body = await request.body()
    except ClientDisconnect as error:
        raise InvalidInput("The request broke off before its end") from error
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and not (kind == "application/json" or kind.endswith("+json")):
        raise UnsupportedMediaType(
            "The body must be JSON", hint="Send it with Content-Type: application/json."
        )
    return body


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Return a dependency that reads the body into a model."""

    async def read(request: Request) -> M:
        try:
            return model.model_validate(parse(await raw_json(request)))
        except ValidationError as error:
            raise invalid(error) from error

    return read


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """Return what a route with such a body adds to the OpenAPI document."""
    return {TAKES: f"{model.__module__}:{model.__name__}"}


def taken(mark: str) -> type[BaseModel]:
    """Return the model that `takes` marked a route with."""
    module, _, name = mark.partition(":")
    model = getattr(importlib.import_module(module), name)
    assert isinstance(model, type) and issubclass(model, BaseModel)
    return model
