"""Attacks inside ``torch.inference_mode()``, on images and labels that were made in it."""

import pytest
import torch
from torch import nn

from nrpurify import attacks
from nrpurify.attacks.gradient import sign_gradient_ascent
from nrpurify.core.errors import InputError

ATTACKS = [
    name
    for name in attacks.names()
    if attacks.get(name).surrogate == "classifier"
    and "linf" in attacks.get(name).info.norms
    and name not in ("sgm", "ghost")  # they need residual blocks: test_transfer_attacks.py
]


def generator():
    return torch.Generator().manual_seed(1)


def options(name):
    own = {"steps": 3, "restarts": 1, "early_stop": False, "queries": 5, "searches": 2}
    known = {key: value for key, value in own.items() if key in attacks.get(name).settings}
    return {**known, "generator": generator()}


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", ATTACKS)
def test_they_do_what_they_do_outside(classifier, images, labels, name, given):
    function = attacks.get(name).function
    expected = function(classifier, images, labels if given else None, **options(name))
    with torch.inference_mode():
        mine, own = images.clone(), labels.clone() if given else None
        assert mine.is_inference()
        found = function(classifier, mine, own, **options(name))
        assert torch.is_inference_mode_enabled()
    assert torch.equal(found, expected)
    assert torch.equal(function(classifier, mine, own, **options(name)), expected)


def test_label_free_ones_too(extractor, images):
    expected = attacks.ssp(extractor, images, steps=3, generator=generator())
    pattern = attacks.fff_perturbation(extractor, (6, 5), steps=3, generator=generator())
    with torch.inference_mode():
        found = attacks.ssp(extractor, images.clone(), steps=3, generator=generator())
        again = attacks.fff_perturbation(extractor, (6, 5), steps=3, generator=generator())
    assert torch.equal(found, expected)
    assert torch.equal(again, pattern)


def test_the_loop_alone(images):
    def objective(point):
        return point.square().flatten(1).sum(1)

    expected = sign_gradient_ascent(images, objective, eps=0.1, steps=3, step_size=0.02)
    with torch.inference_mode():
        assert torch.equal(
            sign_gradient_ascent(images.clone(), objective, eps=0.1, steps=3, step_size=0.02),
            expected,
        )


def test_weights_that_were_made_in_it_are_named(images):
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        message = r"weights of the Sequential were made inside torch\.inference_mode\(\).*outside"
        with pytest.raises(InputError, match=message):
            attacks.pgd(model, images)
        assert attacks.square(model, images, steps=2).shape == images.shape
    with pytest.raises(InputError, match=message):
        attacks.pgd(model, images)


def test_an_attack_without_gradients_takes_weights_that_were_made_in_it(images, labels):
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = attacks.square(model, images, labels, steps=3, generator=generator())
    assert found.shape == images.shape
