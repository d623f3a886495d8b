"""Notices when a job fills the disk through the folders it may write, and clears them away."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

_POLL_SECONDS = 0.2
_SHARE = 20
"""Looking takes at most a twentieth of the time."""
_RESERVE = 512 * 1024**2
"""What must stay free, whoever takes it: a file that was deleted while open shows in no folder."""


async def outgrown(folders: Sequence[Path], growth: int) -> None:
    """Return once the folders have grown by more than `growth` bytes, or the disk is nearly full."""
    loop = asyncio.get_running_loop()
    if not folders:
        await loop.create_future()  # nothing to watch: until this is cancelled
    before = await asyncio.to_thread(size, folders)
    reserve = [min(_RESERVE, shutil.disk_usage(folder).free // 2) for folder in folders]
    while True:
        started = loop.time()
        if await asyncio.to_thread(size, folders) - before > growth:
            return
        pairs = zip(folders, reserve, strict=True)
        if any(shutil.disk_usage(folder).free < least for folder, least in pairs):
            return
        await asyncio.sleep(max(_POLL_SECONDS, _SHARE * (loop.time() - started)))


def size(folders: Sequence[Path]) -> int:
    """Return how many bytes of the disk all below some folders takes."""
    total = 0
    # A list and no recursion (`os.walk` recurses): a hostile tree may be thousands of folders deep.
    waiting = [str(folder) for folder in folders]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


def remove(folder: Path) -> None:
    """Remove what a job left, however deep its folders lie and whatever their modes are.

    Every folder is first moved up to where its path is short; nothing recurses, and no link is
    followed. No process of the job may be left.
    """
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        with suppress(OSError), os.scandir(current) as entries:
            for entry in list(entries):
                with suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)  # noqa: PTH108
                        continue
                    os.chmod(entry.path, 0o700)  # noqa: PTH101
                    raised = folder / token_hex(8)
                    os.rename(entry.path, raised)  # noqa: PTH104
                    waiting.append(raised)
        if current != folder:
            with suppress(OSError):
                current.rmdir()
    with suppress(OSError):
        folder.rmdir()
