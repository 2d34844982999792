"""A plug-in as anyone may write it: attack, defense, purifier design and victim, in one file."""

import torch
from torch import Tensor, nn

from nrpurify import register_attack, register_defense, register_purifier, register_victim
from nrpurify.attacks.base import Attack, AttackProblem
from nrpurify.weights import Preprocessing


@register_attack("one-color", source="test", needs="none")
class OneColor(Attack):
    """All pixels brighter or darker by eps, within [0, 1]; ``model`` and ``labels`` are ignored."""

    darker: bool = False

    def perturb(self, problem: AttackProblem) -> Tensor:
        """Change the images; the base keeps the budget."""
        step = -1.0 if self.darker else 1.0
        return problem.project(problem.clean + step)


@register_defense("posterize", source="control", differentiable=False)
class Posterize(nn.Module):
    """Round each channel to a few levels."""

    def __init__(self, levels: int = 8) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1] to the same."""
        return (images * (self.levels - 1)).round() / (self.levels - 1)


@register_purifier("two-convolutions")
class TwoConvolutions(nn.Module):
    """A purifier network of two convolutions, which starts as the identity."""

    multiple, radius = 1, 2

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.second = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W images in [0, 1] to the same shape."""
        return images + self.second(torch.relu(self.first(images)))


@register_victim("brightest-channel")
def brightest_channel(sharpness: float = 1.0) -> tuple[nn.Module, Preprocessing]:
    """A classifier of three classes, the channels, for images of 8 pixels."""
    head = nn.Linear(3, 3)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    head.weight.data *= sharpness
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return network, Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), size=8)
