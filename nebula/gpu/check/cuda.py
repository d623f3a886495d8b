"""The few calls of the CUDA driver that hold memory of a card and free it; no toolkit is needed.

Names and types are those of cuda.h (https://docs.nvidia.com/cuda/cuda-driver-api/); the primary
context is used, because how other contexts are made has changed between versions.
"""

import ctypes
import sys
from collections.abc import Callable
from ctypes import byref, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from typing import Any, Final

_PATTERN: Final = 0xA5
_PLACES: Final = {
    "win32": ("nvcuda.dll",),
    # WSL2 keeps the driver where a distribution may not look.
    "linux": ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"),
}


class CudaError(Exception):
    """The CUDA driver is not here, or refuses."""


def library() -> Any:
    """Load the driver's library; raises CudaError when it is not on this machine."""
    names = _PLACES.get(sys.platform, _PLACES["linux"])
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise CudaError(f"{names[0]} is not here")


class CudaCard:
    """The first card that this process may see, with a context of its own."""

    def __init__(self, load: Callable[[], Any] = library) -> None:
        """Make the context; raises CudaError when there is no driver or no card."""
        self._cuda = load()
        self._call("cuInit", c_uint(0))
        count = c_int()
        self._call("cuDeviceGetCount", byref(count))
        if count.value < 1:
            raise CudaError("The CUDA driver sees no card")
        self._device, self._context = c_int(), c_void_p()
        self._call("cuDeviceGet", byref(self._device), c_int(0))
        self._call("cuDevicePrimaryCtxRetain", byref(self._context), self._device)
        self._call("cuCtxSetCurrent", self._context)

    def memory(self) -> tuple[int, int]:
        """Return the bytes that are free and those in all, as CUDA sees them."""
        free, total = c_size_t(), c_size_t()
        self._call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value, total.value

    def hold(self, size: int) -> int:
        """Take so many bytes and write to all of them; return where they are."""
        place = c_uint64()
        self._call("cuMemAlloc_v2", byref(place), c_size_t(size))
        self._call("cuMemsetD8_v2", place, c_ubyte(_PATTERN), c_size_t(size))
        self._call("cuCtxSynchronize")
        return place.value

    def free(self, place: int) -> None:
        """Give memory back."""
        self._call("cuMemFree_v2", c_uint64(place))

    def close(self) -> None:
        """Leave the context; the driver frees what it held."""
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            raise CudaError(f"{name}: {self._named(code)}")

    def _named(self, code: int) -> str:
        said = c_char_p()
        self._cuda.cuGetErrorName(c_int(code), byref(said))
        return said.value.decode() if said.value else f"error {code}"
