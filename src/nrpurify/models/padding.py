"""The "same" padding of TensorFlow."""

import torch.nn.functional as F
from torch import Tensor


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad N×C×H×W with ``value`` so that a convolution returns ⌈H/stride⌉×⌈W/stride⌉.

    An odd number of pixels is uneven: at stride 2, an even side and a 3×3 kernel it is one pixel,
    right and bottom only.
    """
    down, right = (max(kernel - (n % stride or stride), 0) for n in x.shape[2:])
    return F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2), value=value)
