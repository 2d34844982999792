"""Tiny classifiers for the attacks."""

import pytest
import torch
from torch import nn


@pytest.fixture
def classifier():
    """A random network of five classes that takes images of any size; in mixed modes."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.BatchNorm2d(12),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    network[4].eval()
    network[0].bias.requires_grad_(False)
    return network


@pytest.fixture
def model():
    """A smooth classifier of 16×16 images, whose gradients agree with other libraries' closely."""
    torch.manual_seed(11)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(12 * 16, 5),
    ).eval()


@pytest.fixture
def labels():
    return torch.tensor([0, 4, 2])
