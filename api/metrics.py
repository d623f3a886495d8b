"""Prometheus figures of the doors, and the route that shows all of them."""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response

from api.identity import LOOPBACK, client_address, identify
from nebula.errors import PermissionDenied

router = APIRouter()

_REQUESTS = Counter("jarvis_http_requests", "Requests by route", ["method", "route", "status"])
_SECONDS = Histogram("jarvis_http_seconds", "Seconds a request took", ["route"])
EVENTS = Counter("jarvis_events_sent", "Server-sent events by kind of stream", ["stream"])
STREAMS = Gauge("jarvis_open_streams", "Open server-sent event streams", ["stream"])
TURNS = Counter("jarvis_chat_turns", "Chat turns by outcome", ["outcome"])

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request and how long it took, in seconds."""
    known = method if method in _METHODS else "other"
    _REQUESTS.labels(known, route, str(status)).inc()
    _SECONDS.labels(route).observe(seconds)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return all figures; from other machines only with a key that may read observe."""
    proxied = {"forwarded", "x-forwarded-for", "x-forwarded-host"} & set(request.headers)
    if client_address(request) not in LOOPBACK or proxied:
        caller = await identify(request)
        if not caller.principal.can("observe:read"):
            raise PermissionDenied("Reading metrics needs the permission observe:read")
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
