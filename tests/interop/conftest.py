"""A small protected classifier whose attacks must go through its defense."""

import pytest
import torch
from torch import nn

from nrpurify import protect


class Smooth(nn.Module):
    """A differentiable defense without weights: a 3×3 mean."""

    def forward(self, images):
        return nn.functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


@pytest.fixture
def defense():
    return Smooth()


@pytest.fixture
def classifier():
    torch.manual_seed(11)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 64, 5, bias=False),
    )


@pytest.fixture
def model(classifier, defense):
    """In training mode, with weights that want gradients: as users have them."""
    return protect(classifier, defense)


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
