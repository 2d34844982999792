"""Admix, shares of other photographs mixed in (Wang et al., 2021)."""

from __future__ import annotations

from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nrpurify.attacks.base import COUNT, functional
from nrpurify.attacks.forward import Transform
from nrpurify.attacks.momentum import InputAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.images import as_floats, read_image
from nrpurify.core.random import chance, random_integer, uniform

SMALLEST = 0.5
"""Least side of a crop, as a share of the photograph's."""


@register_attack("admix", source="Wang et al., 2021")
class Admix(InputAttack):
    """MI-FGSM along the mean gradient of mixtures with other photographs, in several scales.

    In each step ``mixed`` photographs are drawn. A view is the image plus ``portion`` times one of
    them, divided by 1, 2, 4, 8 and 16. The paper takes other images of the batch; here they are
    random crops of the package's four photographs, so that no result depends on a batch.
    ``mixed`` · ``copies`` gradients a step.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Probability of an input-diversity draw (DIM) for each image and gradient.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        copies: Number of scales.
        mixed: Number of photographs.
        portion: η in [0, 1]: share of the photograph.
    """

    ranges: ClassVar = {
        "mixed": COUNT,
        "portion": (lambda value: 0 <= value <= 1, "a value in [0, 1]"),
    }

    copies: int = 5
    mixed: int = 3
    portion: float = 0.2

    def views(self, problem: AttackProblem, row: int) -> list[Transform]:
        """The image with a share of each photograph, divided by powers of two."""
        size, generator = problem.clean.shape[-2:], problem.generators[row]
        shares = [self.portion * random_crop(size, generator) for _ in range(self.mixed)]
        scales = [2**power for power in range(self.copies)]
        return [partial(_mixed, share, scale) for share in shares for scale in scales]


def _mixed(share: Tensor, divisor: int, image: Tensor) -> Tensor:
    return (image + share.to(image)) / divisor


@lru_cache(maxsize=1)
def photographs() -> Tensor:
    """4×3×128×128 in [0, 1]: an astronaut, a cat, a cup of coffee and a rocket.

    They are free of rights: by NASA, Stefan van der Walt, Rachel Michetti and SpaceX; from
    scikit-image.
    """
    file = Path(str(resources.files("nrpurify.attacks"))) / "photographs" / "admix.png"
    return torch.stack(torch.split(as_floats(read_image(file).pixels), 128, 2))


def random_crop(size: torch.Size, generator: Generator) -> Tensor:
    """A crop of one of the photographs, flipped half of the time: 1×3×H×W of ``size``."""
    pool = photographs()
    side = round(uniform(SMALLEST, 1, generator) * pool.shape[-1])
    top, left = (random_integer(0, pool.shape[-1] - side, generator) for _ in range(2))
    crop = pool[[random_integer(0, len(pool) - 1, generator)]]
    crop = crop[:, :, top : top + side, left : left + side]
    crop = crop.flip(3) if chance(0.5, generator) else crop
    return F.interpolate(crop, size, mode="bilinear", align_corners=False)


admix = functional(Admix)
