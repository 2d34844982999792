"""Where reduced precision pays, and the context that switches it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nrpurify.core.errors import InputError

Amp = bool | Literal["auto"]
HALF = (torch.bfloat16, torch.float16)


def at_least_fp32(values: Tensor) -> Tensor:
    """Half precision as fp32; fp32 and fp64 as they are."""
    return values.float() if values.dtype in HALF else values


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
