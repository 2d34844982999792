"""ViT-S/14 (Dosovitskiy et al. 2021, arXiv 2010.11929) in DINOv2's design (arXiv 2304.07193)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.models.registry import register_body

_WIDTH, _HEADS, _DEPTH, _PATCH, _GRID = 384, 6, 12, 14, 37
_EPSILON = 1e-6


class Block(nn.Module):
    """Attention and a two-layer network, each normalized before and scaled after."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(_WIDTH, eps=_EPSILON)
        self.query, self.key, self.value, self.project = (
            nn.Linear(_WIDTH, _WIDTH) for _ in range(4)
        )
        self.scale1 = nn.Parameter(torch.ones(_WIDTH))
        self.norm2 = nn.LayerNorm(_WIDTH, eps=_EPSILON)
        self.fc1 = nn.Linear(_WIDTH, 4 * _WIDTH)
        self.fc2 = nn.Linear(4 * _WIDTH, _WIDTH)
        self.scale2 = nn.Parameter(torch.ones(_WIDTH))

    def _attend(self, x: Tensor) -> Tensor:
        split = (len(x), -1, _HEADS, _WIDTH // _HEADS)
        query, key, value = (
            layer(x).reshape(split).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        found = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.project(found.transpose(1, 2).flatten(2))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Tokens N×T×384 to the same."""
        x = x + self.scale1 * self._attend(self.norm1(x))
        out: Tensor = x + self.scale2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out


@register_body("vit_s", layer="blocks.8")
class VisionTransformer(nn.Module):
    """The layers ``patches``, ``blocks.0`` to ``blocks.11``.

    Takes N×3×H×W with ImageNet's normalization; what is left of sides that are no multiples of 14
    is not seen. The positions, learned on a 37×37 grid, are resized (bicubic).
    """

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, _WIDTH, _PATCH, _PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.class_position = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, _WIDTH, _GRID, _GRID))
        self.blocks = nn.Sequential(*(Block() for _ in range(_DEPTH)))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens N×(1 + H/14 · W/14)×384, the class token first."""
        x = self.patches(x)
        places = F.interpolate(self.positions.float(), x.shape[2:], mode="bicubic")
        places = places.to(self.positions.dtype)
        tokens = (x + places).flatten(2).transpose(1, 2)
        first = (self.class_token + self.class_position).expand(len(x), -1, -1)
        out: Tensor = self.blocks(torch.cat([first.to(tokens.dtype), tokens], 1))
        return out
