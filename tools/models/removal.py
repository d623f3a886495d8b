"""Deletes one model: exactly the named one, and not while it is in use."""

import asyncio
import stat
from typing import TYPE_CHECKING

from nebula.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.services.folders import ModelKind
from nebula.services.map import ServiceSpec
from nebula.services.sizes import gigabytes
from tools.models.hubs import matches
from tools.models.inventory import list_models, model_names
from tools.models.ollama import OllamaModels
from tools.models.part import storage
from tools.models.places import Stored, keeps_files, refuse_links, services_named, stored_files
from tools.models.remote import RemoteFile, erase, look, remote_places
from tools.models.schemas import DeleteReport, ModelEntry

if TYPE_CHECKING:
    from nebula.tool.context import Context


async def delete(
    ctx: "Context", model: str, service: str | None, node: str | None, *, force: bool
) -> DeleteReport:
    """Delete the one model of this name; with `force` it is unloaded first.

    Raises:
        NotFound: when no service has it.
        InvalidInput: when several have it.
        Conflict: when it is loaded or in use.
    """
    spec, entry = await named(ctx, model, service, node)
    if entry.simulated:
        raise Conflict(f"{entry.name} is simulated: there is nothing to delete")
    far = await far_file(ctx, spec, entry)
    unloaded = await _out_of_use(ctx, spec, entry, force=force)
    if far is not None:
        await erase(ctx, far)
    elif spec.kind == "ollama":
        address = ctx.parts.services.map.address(spec)
        await OllamaModels(ctx.http, spec.name, address).delete(entry.name)
    else:
        await _remove(ctx, spec, entry)
    return DeleteReport(
        model=entry.name,
        service=spec.name,
        node=spec.node,
        freed_gb=entry.size_gb if far is None else gigabytes(far.size),
        unloaded=unloaded,
    )


async def named(
    ctx: "Context", model: str, service: str | None, node: str | None
) -> tuple[ServiceSpec, ModelEntry]:
    """Return the one model of this name and the service that has it; see `delete`."""
    specs = services_named(ctx.parts.services, service, node)
    listed = await list_models(ctx, specs)
    entry = _one([m for m in listed.models if matches(m, model)], model, listed.notes)
    return next(s for s in specs if s.name == entry.service), entry


async def far_file(ctx: "Context", spec: ServiceSpec, entry: ModelEntry) -> RemoteFile | None:
    """Return the file of a model that lies on a machine with an agent; None for any other.

    Raises:
        PermissionDenied: when that machine's owner lets no models be deleted.
        NebulaError: as the agent says.
    """
    node = ctx.parts.services.map.node(spec.node)
    if entry.simulated or not keeps_files(spec) or node is None or not node.agent:
        return None
    if node.local and spec.models_folder is not None:
        return None
    places = remote_places(ctx.parts.services.map, ModelKind(entry.kind), [spec])
    return await look(ctx, places[0], entry.name) if places else None


def _one(found: list[ModelEntry], model: str, notes: list[str]) -> ModelEntry:
    exact = [m for m in found if m.name == model] or found
    if not exact:
        raise NotFound(
            f"No service has a model called {model[:100]!r}",
            hint=" ".join([*(f"{n}." for n in notes), "models_list shows their exact names."]),
        )
    if len(exact) > 1:
        places = ", ".join(f"{m.name} of {m.service} on {m.node}" for m in exact[:6])
        raise InvalidInput(
            f"Several models are called {model[:100]!r}",
            hint=f"Give the whole name, and `service` or `node`: {places}.",
        )
    return exact[0]


async def _out_of_use(ctx: "Context", spec: ServiceSpec, entry: ModelEntry, *, force: bool) -> bool:
    """See that nothing works with it; return whether it had to be unloaded for that."""
    name = entry.name.removesuffix(":latest")
    if not force and (holder := await _holder(ctx, spec, entry)):
        raise Conflict(
            f"{holder} uses {name} right now",
            hint="Wait for it to end, or say `force` to delete it all the same.",
        )
    if entry.partial or entry.loaded is False:
        return False
    if entry.loaded is None:
        # ComfyUI does not say which files it holds: a file it works with would be missed later.
        if not force and await _works(ctx, spec):
            raise Conflict(
                f"{spec.name} works right now, and does not say with which models",
                hint="Wait for it to end, or say `force` to delete the file all the same.",
            )
        return False
    if not force:
        raise Conflict(
            f"{name} is loaded in {spec.name}",
            hint="Unload it first, or say `force` to have it unloaded and deleted.",
        )
    await ctx.progress(None, f"Unloading {name}")
    await ctx.parts.broker.unload(f"{spec.name}/{name}", spec.node)
    return True


async def _holder(ctx: "Context", spec: ServiceSpec, entry: ModelEntry) -> str:
    """Return who holds a lease on a model; empty when nobody does."""
    names = model_names(spec, entry.name)
    for lease in (await ctx.parts.leases.rows()).leases:
        if lease.service == spec.name and lease.model in names:
            return lease.what or lease.owner_name
    return ""


async def _works(ctx: "Context", spec: ServiceSpec) -> bool:
    node = (await ctx.parts.broker.snapshot()).node(spec.node)
    return any(r.busy for r in (node.residents if node else ()) if r.service == spec.name)


async def _remove(ctx: "Context", spec: ServiceSpec, entry: ModelEntry) -> None:
    stored, _ = await asyncio.to_thread(stored_files, ctx.parts.services.map, spec)
    mine = [s for s in stored if s.name == entry.name and s.place.kind.value == entry.kind]
    if not mine:
        raise Conflict(
            f"The file of {entry.name} is not on this machine",
            hint=f"Delete it on {spec.node}, or let that machine join (nodes_bootstrap).",
        )
    await asyncio.to_thread(unlink, mine[0])


def unlink(stored: Stored) -> None:
    """Remove one plain file below its folder; blocks.

    Raises:
        PermissionDenied: when a link leads to it, or it became something else.
        NotFound: when it is gone already.
    """
    refuse_links(stored.place.root, stored.path)
    with storage(stored.path.parent):
        try:
            if not stat.S_ISREG(stored.path.lstat().st_mode):
                raise PermissionDenied(f"{stored.name} is not a plain file")
            stored.path.unlink()
        except FileNotFoundError as error:
            raise NotFound(f"{stored.name} is gone already") from error
