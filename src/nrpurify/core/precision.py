"""How a device computes: where reduced precision pays, and what the allocator keeps."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nrpurify.core.errors import InputError

Amp = bool | Literal["auto"]
HALF = (torch.bfloat16, torch.float16)
_TRIM, _MMAP = -1, -3  # of malloc.h
_KEPT, _LARGEST = 512 * 2**20, 31 * 2**20


def at_least_fp32(values: Tensor) -> Tensor:
    """Half precision as fp32; fp32 and fp64 as they are."""
    return values.float() if values.dtype in HALF else values


def weights_dtype(network: nn.Module, images: Tensor) -> torch.dtype:
    """The precision in which ``network`` takes images: that of its first floating-point weight.

    Quantized weights are integers, so they do not decide.

    Args:
        network: Any module.
        images: Their own precision serves where no weight decides.
    """
    weights = (weight for weight in network.parameters() if weight.is_floating_point())
    return next(weights, images).dtype


def bf16_is_fast(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware (elsewhere it is emulated and slower)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return False


def autocast(device: torch.device, amp: Amp) -> AbstractContextManager[object]:
    """Return the bf16 autocast context for ``device``, or one that does nothing.

    On the CPU it computes convolutions with an input or output of width 1 in fp32, because
    oneDNN's bf16 kernels read memory outside the tensor there (docs/upstream-faults.md). Their
    results are still bf16. Convolutions inside TorchScript modules cannot be reached.

    Args:
        device: Where the work is done; take it from the input.
        amp: ``True``, ``False`` or ``"auto"`` (only where :func:`bf16_is_fast`).

    Raises:
        InputError: ``amp`` is none of these.
    """
    if amp not in (True, False, "auto"):
        raise InputError(f"amp is {amp!r}; expected True, False or 'auto'")
    if not amp or (amp == "auto" and not bf16_is_fast(device)):
        return nullcontext()
    return _cpu_autocast() if device.type == "cpu" else torch.autocast(device.type, torch.bfloat16)


@contextmanager
def _cpu_autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16), _NarrowConvolutionsInFp32():
        yield


# tuples, since torch.compile of torch 2.6 does not support sets of functions
_FORWARD = (torch.conv1d, torch.conv2d, torch.conv3d)
_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)


class _NarrowConvolutionsInFp32(TorchFunctionMode):
    """Computes bf16 convolutions of width 1 in fp32, those of any network in the block."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if (func in _FORWARD or func in _TRANSPOSED) and _narrow_bf16(func, *args, **kwargs):
            with torch.autocast("cpu", enabled=False):
                result = func(*map(_as_fp32, args), **{k: _as_fp32(v) for k, v in kwargs.items()})
            return result.to(torch.bfloat16)
        return func(*args, **kwargs)


def _as_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def _narrow_bf16(
    func: Callable[..., Any],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    *args: Any,
    dilation: int | Sequence[int] = 1,
    **kwargs: Any,
) -> bool:
    """Whether a convolution runs in bf16 on the CPU, with an input or output of width 1.

    The width of the input counts too: a transposed convolution, and the backward pass of an
    ordinary one, are computed as convolutions whose output is the input.
    """
    if input.device.type != "cpu" or not (_autocasts_to_bf16() or input.dtype == torch.bfloat16):
        return False
    width = input.shape[-1]
    if width == 1 or func in _TRANSPOSED or padding == "same":
        return width == 1
    pad = 0 if isinstance(padding, str) else _last(padding)
    spread = _last(args[0] if args else dilation) * (weight.shape[-1] - 1)
    return (width + 2 * pad - spread - 1) // _last(stride) == 0


def _autocasts_to_bf16() -> bool:
    enabled = torch.is_autocast_enabled("cpu")
    return enabled and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _last(value: int | Sequence[int]) -> int:
    return value if isinstance(value, int) else value[-1]


def arithmetic(amp: Amp, device: torch.device | str) -> str:
    """The arithmetic that ``amp`` means on a device, for the record: ``bf16`` or ``fp32``."""
    half = amp is True or (amp == "auto" and bf16_is_fast(torch.device(device)))
    return "bf16" if half else "fp32"


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 512 MiB that are freed, for the rest of the process.

    By default it returns freed memory to the system as soon as a few MiB are free at the end of the
    heap, and gets it back page by page. A step of an attack frees all features of a network and
    pays for them again at the next one, a third of its time in the worst case. The peak stays the
    same. Settings in the environment (``MALLOC_TRIM_THRESHOLD_``) and other allocators are
    not affected.
    """
    if platform.libc_ver()[0] != "glibc" or _is_set():
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_MMAP, _LARGEST)  # blocks up to here are in the heap; glibc allows 32 MiB
    mallopt(_TRIM, _KEPT)


def _is_set() -> bool:
    return any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"))
