"""The input half of the NeurIPS 2017 competition's third-ranked defense (Thomas and Elibol)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32
from nrpurify.core.spec import hint_of_255
from nrpurify.defenses.jpeg import JPEG
from nrpurify.defenses.randomness import Combine, RandomDefense
from nrpurify.defenses.registry import register_defense


@register_defense("nips-r3", source="Thomas and Elibol, 2017", differentiable=False)
class NeurIPSr3(RandomDefense):
    """JPEG, one random affine map (rotation, shear, zoom, shift), uniform noise.

    The original feeds the result to an ensemble of adversarially trained models. That half is the
    victim's affair: protect an :class:`nrpurify.attacks.Ensemble` to have it. Each image has its
    own map; it is sampled bilinearly, with reflected borders. The gradient is zero, as the codec's.

    Args:
        quality: Of the JPEG.
        rotation: Greatest angle in degrees, either way.
        shear: Greatest shear angle in radians, either way.
        shift: Greatest shift in shares of the sides, either way.
        zoom: Least share of the image's sides that fills the result, up to 1.
        noise: Greatest noise in units of [0, 1] images.
        passes: See :class:`~nrpurify.defenses.randomness.RandomDefense`.
        combine: ``mean`` of the logits, or ``vote``.
        generator: A CPU generator.

    Raises:
        InputError: A setting out of its range.
    """

    def __init__(
        self,
        quality: int = 50,
        rotation: float = 3.0,
        shear: float = math.pi / 128,
        shift: float = 0.02,
        zoom: float = 0.95,
        noise: float = 4 / 255,
        passes: int = 1,
        combine: Combine = "mean",
        generator: Generator | None = None,
    ) -> None:
        super().__init__(passes, combine, generator)
        if not 0 < zoom <= 1 or min(rotation, shear, shift, noise) < 0:
            raise InputError(
                f"zoom is {zoom}, rotation {rotation}, shear {shear}, shift {shift}, noise {noise};"
                " expected a zoom in (0, 1] and nothing negative"
            )
        if noise > 1:
            raise InputError(f"noise is {noise}; expected a value from 0 to 1{hint_of_255(noise)}")
        self.jpeg = JPEG(quality)
        self.rotation, self.shear, self.shift, self.zoom = rotation, shear, shift, zoom
        self.noise = noise

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1], also none, to the same shape.

        Raises:
            InputError: The images have another shape or type.
        """
        coded: Tensor = self.jpeg(images)
        if not len(coded):
            return coded
        return torch.cat([self._vary(image) for image in torch.split(coded, 1)])

    def move_alpha(self, alpha: Tensor) -> Tensor:
        """N×1×H×W opacity through the images' affine maps, without JPEG and noise."""
        return torch.cat([self._moved(one)[0].to(alpha.dtype) for one in torch.split(alpha, 1)])

    def _vary(self, image: Tensor) -> Tensor:
        moved, noise = self._moved(image)
        return (moved + self.noise * noise.to(moved)).clamp(0, 1).to(image.dtype)

    def _moved(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """A 1×C×H×W image behind a random map, and the noise in [-1, 1] that is drawn next."""
        height, width = image.shape[2:]
        grid = F.affine_grid(self._map(width / height)[None], [1, 3, height, width], False)
        full = at_least_fp32(image)  # places in half precision are off by pixels
        moved = F.grid_sample(full, grid.to(full), "bilinear", "reflection", False)
        noise = 2 * torch.rand((1, 3, height, width), generator=self.generator, device="cpu") - 1
        return moved, noise

    def _map(self, aspect: float) -> Tensor:
        """2×3, from places in the result to places in the image, both in [-1, 1]."""
        angle = math.radians(self.uniform(-self.rotation, self.rotation))
        shear, zoom = self.uniform(-self.shear, self.shear), self.uniform(self.zoom, 1)
        x, y = (2 * self.uniform(-self.shift, self.shift) for _ in range(2))
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        slanted = cos * math.tan(shear) - sin, sin * math.tan(shear) + cos
        rows = [[cos, slanted[0] / aspect, x], [sin * aspect, slanted[1], y]]
        return torch.tensor(rows, device="cpu")
