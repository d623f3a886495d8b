"""Notices when a job fills the disk through the folders it may write."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

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
    before = await asyncio.to_thread(_size, folders)
    reserve = [min(_RESERVE, shutil.disk_usage(folder).free // 2) for folder in folders]
    while True:
        started = loop.time()
        if await asyncio.to_thread(_size, folders) - before > growth:
            return
        pairs = zip(folders, reserve, strict=True)
        if any(shutil.disk_usage(folder).free < least for folder, least in pairs):
            return
        await asyncio.sleep(max(_POLL_SECONDS, _SHARE * (loop.time() - started)))


def _size(folders: Sequence[Path]) -> int:
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):
                    total += (Path(parent) / name).lstat().st_blocks * 512
    return total
