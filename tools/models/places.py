"""The right folder of the right node: where a service's model files lie, and never outside."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from nebula.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.services.directory import ServiceDirectory
from nebula.services.folders import LAYOUTS, ModelKind, layout
from nebula.services.map import ServiceMap, ServiceSpec
from tools.models.naming import PART, WEIGHTS, ending_of
from tools.models.part import storage
from tools.models.remote import RemotePlace, remote_places

_MOST_FILES: Final = 20_000
_DEEPEST: Final = 6


@dataclass(frozen=True)
class Place:
    """A folder of this machine where a service looks for one kind of model.

    `root` exists and holds no links below it that were followed; `folder` may not exist yet.
    """

    service: str
    node: str
    kind: ModelKind
    root: Path
    folder: Path

    def path(self, below: PurePosixPath) -> Path:
        """Return where a file belongs; its name is made of safe components already."""
        return self.folder.joinpath(*below.parts)


@dataclass(frozen=True)
class Stored:
    """A model file on this machine's disk; `name` is its path below its kind's folder."""

    place: Place
    name: str
    path: Path
    size: int
    partial: bool = False


def services_named(
    directory: ServiceDirectory, text: str | None, node: str | None
) -> list[ServiceSpec]:
    """Return the services that keep models and are meant, in the map's order.

    Raises:
        NotFound: when no such service is called that.
    """
    services = directory.map
    if node is not None and services.node(node) is None:
        known = ", ".join(n.name for n in services.nodes) or "none"
        raise NotFound(f"There is no node {node!r} in the service map", hint=f"Nodes: {known}.")
    wanted = directory.find(text) if text else None
    found = [
        s
        for s in services.services
        if s.on_gpu and node in {None, s.node} and (wanted is None or s.name in wanted)
    ]
    if not found:
        where = f" on {node}" if node else ""
        raise NotFound(
            f"No service that keeps models is called {text!r}{where}"
            if text
            else f"The service map has no service that keeps models{where}",
            hint="services_list shows them.",
        )
    return found


def place_for(
    directory: ServiceDirectory, kind: ModelKind, among: Sequence[ServiceSpec]
) -> Place | RemotePlace:
    """Choose the one folder of these services where a kind of model belongs, and check it.

    Folders of this machine go before those of others, unless a service or node was named.

    Raises:
        Conflict: when none of them has such a folder that can be written here.
        InvalidInput: when several could be meant.
    """
    services = directory.map
    able = [s for s in among if kind in layout(s.kind, s.folders) and not services.simulated(s)]
    ready = [s for s in able if s.models_folder is not None and _local(services, s)]
    if len(ready) > 1:
        names = ", ".join(s.name for s in ready)
        raise InvalidInput(f"Several services keep {kind} here", hint=f"Say which: {names}.")
    far = remote_places(services, kind, able) if not ready else []
    if len(far) == 1:
        return far[0]
    if far:
        names = ", ".join(f"{p.service} on {p.node}" for p in far)
        raise InvalidInput(f"Several machines keep {kind}", hint=f"Say which: {names}.")
    if not ready:
        raise _no_place(services, kind, among, able)
    return checked_place(ready[0], kind)


def _no_place(
    services: ServiceMap, kind: ModelKind, among: Sequence[ServiceSpec], able: Sequence[ServiceSpec]
) -> Conflict:
    if not able:
        names = ", ".join(s.name for s in among)
        return Conflict(
            f"None of {names} keeps {kind} in files",
            hint="Name a ComfyUI or SD WebUI service; those marked simulated keep none.",
        )
    spec = able[0]
    if not _local(services, spec):
        return Conflict(
            f"{spec.name} runs on {spec.node}, which has no agent that could store files there",
            hint=f"Let {spec.node} join (nodes_bootstrap), or put the file there yourself.",
        )
    return Conflict(
        f"Where {spec.name} keeps its models is not known",
        hint=f"Write `models_folder: {_EXAMPLES[spec.kind]}` into its entry of the service map.",
    )


_EXAMPLES: Final = {"comfyui": "/home/me/ComfyUI/models", "sdwebui": "/home/me/stable-diffusion"}


def _local(services: ServiceMap, spec: ServiceSpec) -> bool:
    node = services.node(spec.node)
    return node is not None and node.local


def checked_place(spec: ServiceSpec, kind: ModelKind) -> Place:
    """Return a kind's folder of a service on this machine.

    The operator's own paths may be links; what lies below them may not be.

    Raises:
        Conflict: when the folder of the map does not exist.
        PermissionDenied: when a link below it leads on.
    """
    root = Path(str(spec.models_folder)).expanduser()
    where = layout(spec.kind, spec.folders)[kind]
    if where.is_absolute():
        root, where = Path(where), PurePosixPath()
    try:
        root = root.resolve(strict=True)
    except OSError as error:
        raise Conflict(
            f"The folder {root} of {spec.name} is not there",
            hint="Correct `models_folder` in the service map, or mount the disk.",
        ) from error
    if ".." in where.parts:
        raise Conflict(f"`folders` of {spec.name} climbs out of its folder for {kind}")
    folder = root.joinpath(*where.parts)
    refuse_links(root, folder)
    return Place(spec.name, spec.node, kind, root, folder)


def refuse_links(root: Path, path: Path) -> None:
    """Check every component below a root.

    Raises:
        PermissionDenied: when one is a link, or a parent is no folder.
    """
    at = root
    for part in path.relative_to(root).parts:
        at = at / part
        try:
            mode = at.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise PermissionDenied(
                f"{at} is a link, and links are not followed",
                hint="Name the folder that it leads to under `folders` in the service map.",
            )


def make_parents(place: Place, path: Path) -> None:
    """Make the folders above a file, none of which may be a link."""
    with storage(place.root):
        path.parent.mkdir(parents=True, exist_ok=True)
    refuse_links(place.root, path)


def stored_files(services: ServiceMap, spec: ServiceSpec) -> tuple[list[Stored], list[str]]:
    """Return a service's model files on this machine, and what could not be looked at.

    Blocks, and follows no links.
    """
    if spec.models_folder is None or not _local(services, spec):
        return [], []
    found: list[Stored] = []
    notes: list[str] = []
    seen: set[Path] = set()
    for kind in layout(spec.kind, spec.folders):
        try:
            place = checked_place(spec, kind)
        except (Conflict, PermissionDenied) as error:
            notes.append(f"{spec.name}: {error}")
            continue
        if place.folder not in seen:
            seen.add(place.folder)
            found += _walk(place)
    return found, list(dict.fromkeys(notes))


def _walk(place: Place) -> Iterator[Stored]:
    count = 0
    for folder, folders, files in os.walk(place.folder, followlinks=False):
        depth = len(Path(folder).relative_to(place.folder).parts)
        folders[:] = sorted(folders) if depth < _DEEPEST else []
        for name in sorted(files):
            partial = name.endswith(PART)
            if not partial and ending_of(name) not in WEIGHTS:
                continue
            path = Path(folder, name)
            try:
                found = path.lstat()
            except OSError:
                continue
            count += 1
            if count > _MOST_FILES:
                return
            if stat.S_ISREG(found.st_mode):
                below = path.relative_to(place.folder).as_posix()
                yield Stored(place, below, path, found.st_size, partial)


def keeps_files(spec: ServiceSpec) -> bool:
    """Say whether a service keeps its models as plain files."""
    return spec.kind in LAYOUTS
