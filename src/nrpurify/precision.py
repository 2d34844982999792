"""Where reduced precision pays, and the context that switches it on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from nrpurify.errors import InputError

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
    return torch.autocast(device.type, torch.bfloat16)
