"""Files of another machine: its agent stores or deletes them in the folder its owner names."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from nebula.errors import Conflict, NotFound, UpstreamRejected
from nebula.services.folders import ModelKind, layout
from nebula.services.map import ServiceMap, ServiceSpec
from nebula.services.nodes.follow import follow, task_id
from nebula.services.sizes import gigabytes
from node.protocol import TaskRequest
from tools.models.download import Downloader, Wanted
from tools.models.offer import OfferedFile
from tools.models.schemas import StoredFile

if TYPE_CHECKING:
    from nebula.tool.context import Context

_OUT_OF_TOUCH_SECONDS: Final = 600.0
"""How long the agent goes on downloading when it cannot reach us."""

_LOOK_SECONDS: Final = 60.0


@dataclass(frozen=True)
class RemotePlace:
    """A folder of another machine, below the one that its owner names in the node's config.yml."""

    service: str
    node: str
    kind: ModelKind
    service_kind: str
    folder: PurePosixPath


def remote_places(
    services: ServiceMap, kind: ModelKind, among: Sequence[ServiceSpec]
) -> list[RemotePlace]:
    """Return where a kind of model belongs on machines that joined with an agent."""
    found: list[RemotePlace] = []
    for spec in among:
        node = services.node(spec.node)
        where = layout(spec.kind, spec.folders).get(kind)
        if node is None or not node.agent or where is None:
            continue
        if where.is_absolute() or ".." in where.parts:
            raise Conflict(
                f"`folders` of {spec.name} leads out of the folder that {spec.node} allows",
                hint="Name a folder below it, such as `loras: loras`.",
            )
        found.append(RemotePlace(spec.name, spec.node, kind, spec.kind, where))
    return found


async def store(
    ctx: "Context",
    downloader: Downloader,
    place: RemotePlace,
    *,
    wanted: Wanted,
    file: OfferedFile,
    below: PurePosixPath,
) -> StoredFile:
    """Have the agent of a machine download one file, and follow it to its end.

    The agent gets the signed address behind the hub's own, never a token.

    Raises:
        UpstreamRejected: when the machine could not store it; the sentence says why.
        NebulaError: as the hub or the agent says.
    """
    client = await ctx.parts.nodes.client(place.node)
    path = place.folder / below
    address = await downloader.address(wanted)
    attempt = ctx.run.job.attempts if ctx.run is not None else 0
    request = TaskRequest(
        task_id=task_id(ctx.call_id, f"{path}-{attempt}"),
        command=f"model:{place.service_kind}",
        args=(address, str(path), file.sha256 or "-", str(wanted.size or 0)),
        lease_seconds=_OUT_OF_TOUCH_SECONDS,
        job=ctx.caller.job_id,
    )
    done = await follow(ctx, client, request)
    last = done.lines[-1] if done.lines else ""
    if done.report.exit_code != 0:
        why = last.removeprefix("failed: ") or done.report.reason or "it did not say why"
        raise UpstreamRejected(
            f"{place.node} could not store {below.name}: {why[:300]}",
            hint="What arrived is kept there: start the download again to go on.",
        )
    return StoredFile(
        name=below.as_posix(),
        path=f"{place.node}: {path}",
        size_gb=gigabytes(file.size),
        sha256=file.sha256 or "",
        verified=file.sha256 is not None,
        already=last.endswith("already"),
    )


@dataclass(frozen=True)
class RemoteFile:
    """A model file of another machine: where its agent finds it, and how many bytes it has."""

    place: RemotePlace
    name: str
    path: str
    size: int


async def look(ctx: "Context", place: RemotePlace, name: str) -> RemoteFile:
    """Have the agent of a machine find a model file that it may delete.

    Raises:
        PermissionDenied: when its owner lets nothing be deleted there; the hint says how to.
        NotFound: when it is not there, or may not be touched.
        NebulaError: as the agent says.
    """
    request = TaskRequest(
        task_id=f"look-{uuid4().hex}",
        command=f"model-look:{place.service_kind}",
        args=(str(place.folder / name),),
        lease_seconds=_LOOK_SECONDS,
    )
    path, size = await _told(ctx, place, name, request)
    return RemoteFile(place, name, path, size)


async def erase(ctx: "Context", file: RemoteFile) -> None:
    """Have the agent delete a file, which must have the size it had.

    Raises:
        NotFound: when it is gone, or is another file now.
        NebulaError: as `look` says, or as the agent says.
    """
    place = file.place
    request = TaskRequest(
        task_id=task_id(ctx.call_id, file.path),
        command=f"model-delete:{place.service_kind}",
        args=(str(place.folder / file.name), str(file.size)),
        lease_seconds=_LOOK_SECONDS,
    )
    await _told(ctx, place, file.name, request)


async def _told(
    ctx: "Context", place: RemotePlace, name: str, request: TaskRequest
) -> tuple[str, int]:
    """Follow a task that tells a file's path and size as its last line."""
    done = await follow(ctx, await ctx.parts.nodes.client(place.node), request)
    last = done.lines[-1] if done.lines else ""
    if done.report.exit_code != 0:
        why = last.removeprefix("failed: ") or done.report.reason or "it did not say why"
        raise NotFound(
            f"{place.node} does not delete {name}: {why[:300]}",
            hint="models_list shows what is there.",
        )
    try:
        told = json.loads(last)
        return str(told["path"]), int(told["size"])
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamRejected(
            f"What {place.node} told about {name} cannot be read",
            hint="Its agent may be of another version.",
        ) from error
