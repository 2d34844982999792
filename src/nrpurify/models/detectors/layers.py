"""Building blocks of the detectors that were trained in TensorFlow."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.models.padding import pad_same

HALF_SIXTH = 0.16662598
"""One sixth as float16 has it: the converted graph's own constant."""


class HardSwish(nn.Module):
    """``x · min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019, arXiv 1905.02244)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * F.relu6(x + 3) * HALF_SIXTH


class HardSigmoid(nn.Module):
    """``min(max(x + 3, 0), 6) / 6``."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same, in [0, 1]."""
        return F.relu6(x + 3) * HALF_SIXTH


class Conv(nn.Module):
    """Convolution with padding, then an activation; depthwise if ``outputs`` is None.

    The padding is TensorFlow's "same", or, if ``symmetric``, alike on all sides as in torchvision.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int | None = None,
        kernel: int = 1,
        stride: int = 1,
        *,
        bias: bool = True,
        activation: nn.Module | None = None,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        self.symmetric = symmetric
        groups = inputs if outputs is None else 1
        self.conv = nn.Conv2d(inputs, outputs or inputs, kernel, stride, groups=groups, bias=bias)
        self.activation = activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×outputs×⌈H/stride⌉×⌈W/stride⌉."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        wide = F.pad(x, (kernel // 2,) * 4) if self.symmetric else pad_same(x, kernel, stride)
        out: Tensor = self.activation(self.conv(wide))
        return out


class Separable(nn.Module):
    """A convolution per channel without bias, then 1×1 over the channels; no activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = Conv(inputs, kernel=kernel, bias=False)
        self.pointwise = Conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×outputs×H×W."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class Gate(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018, arXiv 1709.01507): a factor for each channel."""

    def __init__(
        self, channels: int, squeezed: int, squash: nn.Module, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.reduce = Conv(channels, squeezed, activation=nn.ReLU())
        self.expand = Conv(squeezed, channels, bias=bias, activation=squash)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to the same, scaled."""
        out: Tensor = x * self.expand(self.reduce(x.mean((2, 3), keepdim=True)))
        return out


class Bottleneck(nn.Module):
    """Inverted residual of MobileNetV2 and V3: expand, filter per channel, gate, project.

    ``hidden`` channels lie between; there is no expansion when ``inputs`` equals them. The input
    is added at stride 1 and equal widths. ``squeezed`` is the width of the gate, 0 for none;
    ``symmetric`` is the padding's kind, see :class:`Conv`.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        squeezed: int = 0,
        activation: nn.Module,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        widens = hidden != inputs
        self.expand = Conv(inputs, hidden, activation=activation) if widens else nn.Identity()
        self.depthwise = Conv(
            hidden, None, kernel, stride, activation=activation, symmetric=symmetric
        )
        self.gate = Gate(hidden, squeezed, HardSigmoid()) if squeezed else nn.Identity()
        self.project = Conv(hidden, outputs)
        self.residual = stride == 1 and inputs == outputs

    def shrink(self, expanded: Tensor, x: Tensor) -> Tensor:
        """Everything behind the expansion of ``x``, for networks that need the expansion too."""
        out: Tensor = self.project(self.gate(self.depthwise(expanded)))
        return x + out if self.residual else out

    def forward(self, x: Tensor) -> Tensor:
        """Map N×inputs×H×W to N×outputs×⌈H/stride⌉×⌈W/stride⌉."""
        return self.shrink(self.expand(x), x)


def resize_bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """Resize N×C×H×W as TensorFlow 1 does: output pixel i is read at i · (old / new).

    Neither are pixel centers aligned nor is anything smoothed; differentiable.
    """
    return _resize(_resize(x, height, 2), width, 3)


def _resize(x: Tensor, size: int, axis: int) -> Tensor:
    old = x.shape[axis]
    if old == size:
        return x
    places = torch.arange(size, device=x.device, dtype=torch.float32) * (old / size)
    low = places.long().clamp_(max=old - 1)
    shape = [1, 1, 1, 1]
    shape[axis] = size
    share = (places - low).to(x.dtype).view(shape)
    lower = x.index_select(axis, low)
    return lower + (x.index_select(axis, (low + 1).clamp_(max=old - 1)) - lower) * share
