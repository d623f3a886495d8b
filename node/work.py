"""What a task's command stands for: an entry of the allow-list, or a recipe to install."""

import sys
from collections.abc import Mapping
from pathlib import Path

from node.config import Home
from node.errors import BadRequest, NotAllowed
from node.protocol import TaskRequest
from node.recipes import Recipe, recipe, recipes

_ROOT = Path(__file__).resolve().parents[1]
INSTALL, REMOVE, MODEL = "install:", "remove:", "model:"
LOOK, ERASE = "model-look:", "model-delete:"
_PYTHON = {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}


class Work:
    """Finds what a command runs; the files are read anew each time, so that changes count."""

    def __init__(self, home: Home) -> None:
        """Take the agent's folder."""
        self._home = home

    def argv(self, request: TaskRequest) -> tuple[tuple[str, ...], Mapping[str, str], str | None]:
        """Return a command's arguments, environment and folder.

        Raises:
            Unknown, NotAllowed: when this machine's owner does not allow it.
        """
        for prefix in (INSTALL, REMOVE):
            if request.command.startswith(prefix):
                return self._deploy(prefix, request)
        if request.command.startswith(MODEL):
            return self._model(request)
        for prefix, words in ((LOOK, 1), (ERASE, 2)):
            if request.command.startswith(prefix):
                return self._erase(request, request.command.removeprefix(prefix), words)
        command = self._home.config().command(request.command)
        return command.with_args(request.args), dict(command.env), command.cwd

    def needs_gpu(self, command: str) -> bool:
        """Say whether a command runs under a lease only."""
        found = self._home.config().commands.get(command)
        return found is not None and found.gpu

    def _deploy(
        self, prefix: str, request: TaskRequest
    ) -> tuple[tuple[str, ...], Mapping[str, str], str | None]:
        if request.args:
            raise BadRequest("A recipe takes no arguments")
        found = self.recipe(request.command.removeprefix(prefix))
        argv = (sys.executable, "-m", "node", prefix.rstrip(":"), found.name)
        home = str(self._home.path.resolve())
        return (*argv, "--home", home), dict(_PYTHON), home

    def _model(self, request: TaskRequest) -> tuple[tuple[str, ...], Mapping[str, str], str | None]:
        """Download a model into the folder that the owner names for a kind of service."""
        folder = self._folder(request.command.removeprefix(MODEL))
        if len(request.args) != 4:
            raise BadRequest("A model takes an address, a path, a checksum and a size")
        return self._module("node.models", folder, request)

    def _erase(
        self, request: TaskRequest, kind: str, words: int
    ) -> tuple[tuple[str, ...], Mapping[str, str], str | None]:
        """Find or delete a model below such a folder, where the owner lets files be deleted."""
        folder = self._folder(kind)
        if not self._home.config().delete_models:
            raise NotAllowed(
                "This machine's owner does not let models be deleted",
                hint="Its owner can write `delete_models: true` into the node's config.yml.",
            )
        if len(request.args) != words:
            raise BadRequest("Deleting a model takes its path and its size")
        return self._module("node.erase", folder, request)

    def _folder(self, kind: str) -> str:
        folder = self._home.config().models.get(kind)
        if folder is None:
            raise NotAllowed(
                f"This machine's owner names no folder for models of {kind[:40]!r}",
                hint=f"Add it to the node's config.yml: `models: {{{kind[:40]}: /path/of/models}}`.",
            )
        return folder

    def _module(
        self, module: str, folder: str, request: TaskRequest
    ) -> tuple[tuple[str, ...], Mapping[str, str], str | None]:
        argv = (sys.executable, "-m", module, "--", folder, *request.args)
        return argv, dict(_PYTHON), str(self._home.path.resolve())

    def recipe(self, name: str) -> Recipe:
        """Return a recipe that may be installed here; raises Unknown or NotAllowed."""
        found = recipe(self._home.path, name)
        allowed = self._home.config().recipes
        if allowed is not None and found.name not in allowed:
            raise NotAllowed(
                f"This machine's owner does not let {found.name} be installed",
                hint="Add it to `recipes` in the node's config.yml.",
            )
        return found

    def recipes(self) -> tuple[Recipe, ...]:
        """Return the recipes that may be installed here."""
        allowed = self._home.config().recipes
        return tuple(r for r in recipes(self._home.path) if allowed is None or r.name in allowed)

    def commands(self) -> tuple[str, ...]:
        """Return the names of the allow-list."""
        return tuple(sorted(self._home.config().commands))
