"""What the routes share: the running program, opened by the server's lifespan."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from nebula.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from graphs.jarvis.service import Jarvis
    from nebula.app import App


@dataclass(frozen=True)
class Doors:
    """The App and Jarvis behind every door."""

    app: "App"
    jarvis: "Jarvis"


def doors_of(connection: HTTPConnection) -> Doors:
    """Return what the lifespan opened; UpstreamUnavailable before it did."""
    found = getattr(connection.app.state, "doors", None)
    if found is None:
        raise UpstreamUnavailable("Jarvis is still starting", hint="Try again in a moment.")
    return cast("Doors", found)


Open = Annotated[Doors, Depends(doors_of)]
