"""Classifiers see enlarged images enlarged: under input diversity and behind R&P."""

import pytest
import torch
from torch import nn

from nrpurify import attacks, protect
from nrpurify.attacks import BPDA
from nrpurify.core.scale import enlarged, seen_size
from nrpurify.defenses import Protected
from nrpurify.models import Classifier
from nrpurify.weights import Preprocessing


class Seen(nn.Module):
    """Three classes by color; remembers the sizes that it saw."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[2:]))
        return images.mean((2, 3))


@pytest.fixture
def network():
    return Seen()


def classifier(network, **options):
    own = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), size=16)
    return Classifier(network, name="seen", num_classes=3, preprocessing=own, **options)


def test_images_of_any_size_are_resized_to_the_networks_own(network):
    model = classifier(network, fixed_size=False)
    for size in ((16, 16), (40, 30), (8, 8)):
        model(torch.rand(1, 3, *size))
    assert network.sizes == 3 * [(16, 16)]


def test_enlarged_images_are_seen_enlarged(network):
    model = classifier(network, fixed_size=False)
    images, larger = torch.rand(1, 3, 20, 10), torch.rand(1, 3, 30, 20)
    with enlarged(images, larger):
        model(larger)
        with enlarged(larger, torch.rand(1, 3, 60, 20)):
            assert seen_size(16) == (48, 32)
    model(larger)
    assert network.sizes == [(24, 32), (16, 16)]
    fixed = classifier(network, fixed_size=True)
    with enlarged(images, larger):
        fixed(larger)
    assert network.sizes[-1] == (16, 16)


def test_the_ratio_is_forgotten_after_an_error():
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(ZeroDivisionError), enlarged(images, torch.rand(1, 3, 16, 16)):
        raise ZeroDivisionError
    assert seen_size(16) == (16, 16)


def test_a_surrogate_sees_diverse_inputs_larger(network):
    images = torch.rand(2, 3, 299, 299)
    generator = torch.Generator().manual_seed(0)
    model = classifier(network, fixed_size=False)
    attacks.dim(model, images, torch.tensor([0, 1]), steps=4, generator=generator)
    # 16 · 330/299, or 16 where the draw leaves the image alone
    assert set(network.sizes) == {(18, 18), (16, 16)}


@pytest.mark.parametrize("passes", [1, 2])
def test_a_victim_sees_padded_images_larger(network, passes):
    model = protect(classifier(network, fixed_size=False), f"rp:low=28,high=36,passes={passes}")
    model(torch.rand(1, 3, 24, 24))
    assert network.sizes == [(24, 24)]
    through = Protected(model.model, BPDA(model.defense, nn.Upsample(scale_factor=1.5)))
    through(torch.rand(1, 3, 24, 24))
    assert network.sizes[-1] == (24, 24)
