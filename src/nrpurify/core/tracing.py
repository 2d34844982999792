"""Whether a tensor has values that can be read, and sides that are known."""

from __future__ import annotations

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether ``torch.export`` traces: sides may be symbols, on which nothing may branch."""
    # torch before 2.7 has no is_exporting
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def in_functorch(tensor: Tensor) -> bool:
    """Whether a transformation of ``torch.func``, such as ``vmap`` or ``grad``, wraps a tensor."""
    if torch.compiler.is_compiling():  # which cannot trace the question
        return False
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def has_values(tensor: Tensor) -> bool:
    """Whether there are values and they can be read: not those of a tensor that is traced."""
    if tensor.is_meta or torch.compiler.is_compiling() or torch._C._is_tracing():
        return False
    return not in_functorch(tensor) and tensor.numel() > 0
