"""Opens the registry of nodes over the database, for the composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from nebula.db.engine import Database
from nebula.gpu.open import Gpu
from nebula.secrets.vault import Vault
from nebula.services.directory import Publisher
from nebula.services.nodes.client import node_http
from nebula.services.nodes.leases import live_leases
from nebula.services.nodes.registry import NodeRegistry
from nebula.settings import Settings


@asynccontextmanager
async def open_nodes(
    settings: Settings,
    db: Database,
    events: Publisher,
    gpu: Gpu,
    transport: httpx.AsyncBaseTransport | None,
) -> AsyncIterator[NodeRegistry]:
    """Hand out the registry, and have the observer read the cards of nodes from it."""
    async with node_http(transport, settings.node_ca) as http:
        registry = NodeRegistry(db, Vault.of(settings), http, gpu.services, events)
        gpu.broker.observer.remote = registry.readings
        registry.live_leases = live_leases
        yield registry
