"""SegNet-Basic (Badrinarayanan, Kendall and Cipolla, 2017, arXiv 1511.00561)."""

import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.precision import at_least_fp32
from nrpurify.models.segmenters.spectral import LargeConv2d

WIDTH, KERNEL, DEPTH = 64, 7, 4
MIN_SIDE = 2**DEPTH
"""The shortest side of an image that can be pooled ``DEPTH`` times."""


class Encoder(nn.Module):
    """Convolution, batch norm, ReLU, and 2×2 max-pooling that remembers where maxima were."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = LargeConv2d(inputs, WIDTH, KERNEL)
        self.bn = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """N×inputs×H×W to N×64×⌊H/2⌋×⌊W/2⌋ and the indices of the maxima."""
        pooled, indices = F.max_pool2d(F.relu(self.bn(self.conv(x))), 2, return_indices=True)
        return pooled, indices


class Decoder(nn.Module):
    """Unpooling to where the maxima were, convolution, batch norm; no ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = LargeConv2d(WIDTH, WIDTH, KERNEL)
        self.bn = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """N×64×h×w to N×64×``size``."""
        out: Tensor = self.bn(self.conv(F.max_unpool2d(x, indices, [2, 2], output_size=list(size))))
        return out


class SegNetBasic(nn.Module):
    """Four encoders and four decoders of 64 channels and 7×7 kernels, a 1×1 classifier.

    Takes N×3×H×W in [0, 1], H and W at least 16, and returns logits N×``num_classes``×H×W. The
    local response normalization of the published network (over the channels of an image in
    [0, 255]; size 5, alpha 1e-4, beta 0.75) is the first thing it does.
    """

    def __init__(self, num_classes: int = 11) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(Encoder(WIDTH if k else 3) for k in range(DEPTH))
        self.decoders = nn.ModuleList(Decoder() for _ in range(DEPTH))
        self.classifier = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits N×``num_classes``×H×W of images N×3×H×W in [0, 1]."""
        x = at_least_fp32(images) * 255  # squares reach the end of fp16, and bf16 rounds them
        x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0) / 40 - 1
        x = x.to(images.dtype)
        kept = []
        for encoder in self.encoders:
            size = (x.shape[2], x.shape[3])
            x, indices = encoder(x)
            kept.append((indices, size))
        for decoder in self.decoders:
            x = decoder(x, *kept.pop())
        logits: Tensor = self.classifier(x)
        return logits
