"""U²-Net-p (Qin et al., 2020, arXiv 2005.09007), as exported: batch norms are in the weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify import weights
from nrpurify.models.segmenters.registry import register_segmenter
from nrpurify.models.segmenters.segmenter import Segmenter, any_size, square

WIDTH, INNER = 64, 16
ENCODERS = (7, 6, 5, 4, 4, 4)
DECODERS = (4, 4, 5, 6, 7)
_DILATED = (4, 5)  # encoders that dilate in place of pooling


def _conv(inputs: int, outputs: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class ResidualU(nn.Module):
    """A U-Net of ``depth`` levels with a skip around it; dilated ones keep the resolution."""

    def __init__(self, inputs: int, depth: int, dilated: bool) -> None:
        super().__init__()
        self.dilated = dilated
        rates = [2**k if dilated else 1 for k in range(depth - 1)]
        self.enter = _conv(inputs, WIDTH)
        first = _conv(WIDTH, INNER)
        rest = (_conv(INNER, INNER, rate) for rate in rates[1:])
        last = _conv(INNER, INNER, 2 ** (depth - 1) if dilated else 2)
        self.down = nn.ModuleList([first, *rest, last])
        outputs = [*[INNER] * (depth - 2), WIDTH]
        self.up = nn.ModuleList(
            _conv(2 * INNER, width, rate)
            for width, rate in zip(outputs, reversed(rates), strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×64×H×W."""
        entered = x = F.relu(self.enter(x))
        kept = []
        for k, conv in enumerate(self.down):
            if 0 < k < len(self.down) - 1 and not self.dilated:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = F.relu(conv(x))
            kept.append(x)
        kept.pop()
        for conv in self.up:
            beside = kept.pop()
            x = F.relu(conv(torch.cat([_enlarged(x, beside), beside], 1)))
        return x + entered


class U2NetP(nn.Module):
    """Salient-object detection, not semantic segmentation: 1.1 million parameters, two classes.

    Takes normalized N×3×H×W (it was trained at 320×320) and returns logits N×2×H×W: zeros for the
    background, and for the salient object the logit whose sigmoid the authors' network returns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            ResidualU(WIDTH if k else 3, depth, k in _DILATED) for k, depth in enumerate(ENCODERS)
        )
        self.decoders = nn.ModuleList(
            ResidualU(2 * WIDTH, depth, k == 0) for k, depth in enumerate(DECODERS)
        )
        self.sides = nn.ModuleList(_conv(WIDTH, 1) for _ in ENCODERS)
        self.fuse = nn.Conv2d(len(ENCODERS), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits N×2×H×W of preprocessed images N×3×H×W."""
        kept: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(F.max_pool2d(kept[-1], 2, ceil_mode=True) if kept else x)
            kept.append(x)
        levels = [x]
        for decoder, beside in zip(self.decoders, reversed(kept[:-1]), strict=True):
            x = decoder(torch.cat([_enlarged(x, beside), beside], 1))
            levels.insert(0, x)
        maps = [side(level) for side, level in zip(self.sides, levels, strict=True)]
        salient = self.fuse(torch.cat([_enlarged(one, maps[0]) for one in maps], 1))
        return torch.cat([torch.zeros_like(salient), salient], 1)


@register_segmenter("u2netp")
def u2netp(*, pretrained: bool = True) -> Segmenter:
    """Salient objects, two logits: background and object."""
    expected = weights.get("u2netp").preprocessing
    network = U2NetP()
    if pretrained:
        network.load_state_dict(weights.load("u2netp"))
    return Segmenter(
        network,
        name="u2netp",
        classes=("background", "salient object"),
        mean=expected.mean,
        std=expected.std,
        sizing=square(expected.size) if expected.size else any_size,
        to_maximum=True,
    )
