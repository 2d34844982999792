"""SVRE and CWA: their formulas, written out again, and images that do not depend on others."""

import pytest
import torch
from torch import nn

from nrpurify.attacks import Ensemble, cwa, i_fgsm, svre
from nrpurify.attacks.starts import per_image
from nrpurify.core.errors import InputError
from nrpurify.core.random import random_integer

EPS = 16 / 255
LABELS = torch.tensor([1, 0, 4])


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(6 * 36, 5)
    ).eval()


@pytest.fixture
def members():
    return [network(seed) for seed in (1, 2, 3)]


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def slope(model, x, label):
    point = x.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(model(point), label)
    return torch.autograd.grad(loss, point)[0]


def inside(x, clean):
    return (clean + (x - clean).clamp(-EPS, EPS)).clamp(0, 1)


def test_svre_follows_its_algorithm(members, images):
    """Algorithm 1 image by image: ḡ = mean of gradients; inner steps of g_k(x̃) - g_k(x) + ḡ."""
    found = svre(Ensemble(*members), images, LABELS, eps=EPS, steps=3, inner=2,
                 generator=torch.Generator().manual_seed(5))  # fmt: skip
    generators = per_image(torch.Generator().manual_seed(5), 3)
    size = EPS / 3
    for row in range(3):
        clean, label = images[row : row + 1], LABELS[row : row + 1]
        x, outer = clean, torch.zeros_like(clean)
        for _ in range(3):
            anchors = [slope(model, x, label) for model in members]
            mean = sum(anchors) / 3
            here, inner = x, torch.zeros_like(clean)
            for _ in range(2 * 3):
                k = random_integer(0, 2, generators[row])
                gradient = slope(members[k], here, label) - anchors[k] + mean
                inner = inner + gradient / gradient.abs().mean()
                here = inside(here + size * inner.sign(), clean)
            outer = outer + inner / inner.abs().mean()
            x = inside(x + size * outer.sign(), clean)
        torch.testing.assert_close(found[row : row + 1], x, rtol=0, atol=1e-5)


def test_cwa_follows_its_algorithm(members, images):
    """MI-CWA: down by ε/15 along the ensemble's sign, up each member by 250, the sum outside."""
    found = cwa(Ensemble(*members), images, LABELS, eps=EPS, steps=3)
    for row in range(3):
        clean, label = images[row : row + 1], LABELS[row : row + 1]
        x, inner, outer = clean, 0, 0
        for _ in range(3):
            here = inside(x - EPS / 15 * slope(Ensemble(*members), x, label).sign(), clean)
            for model in members:
                gradient = slope(model, here, label)
                inner = inner + gradient / gradient.norm()
                here = inside(here + 250 * inner, clean)
            outer = outer + (here - x) / (here - x).abs().sum()
            x = inside(x + 2 * EPS / 3 * outer.sign(), clean)
        torch.testing.assert_close(found[row : row + 1], x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attack", [svre, cwa])
def test_an_image_does_not_depend_on_the_others(attack, members, images):
    seeds = lambda: [torch.Generator().manual_seed(k) for k in range(3)]  # noqa: E731
    model = Ensemble(*members)
    together = attack(model, images, LABELS, steps=3, generator=seeds())
    for row in range(3):
        alone = attack(
            model, images[row : row + 1], LABELS[row : row + 1], steps=3,
            generator=[seeds()[row]],
        )  # fmt: skip
        assert torch.equal(alone, together[row : row + 1])


@pytest.mark.parametrize("attack", [svre, cwa])
def test_all_members_are_misled_and_targets_reached(attack, members, images):
    model = Ensemble(*members)
    targets = (model(images).argmax(1) + 1) % 5
    generator = torch.Generator().manual_seed(0)
    found = attack(model, images, targets=targets, eps=0.3, generator=generator)
    for member in members:
        chance = member(found).softmax(1).gather(1, targets[:, None])
        assert (chance > member(images).softmax(1).gather(1, targets[:, None])).all()


def test_a_single_network_is_an_ensemble_of_one(members, images):
    """Then SVRE is an inner loop of MI-FGSM and draws nothing."""
    one, other = (
        svre(members[0], images, LABELS, generator=torch.Generator().manual_seed(k)) for k in (0, 1)
    )
    assert torch.equal(one, other)
    assert torch.equal(one, svre(Ensemble(members[0]), images, LABELS))
    loss = nn.CrossEntropyLoss(reduction="none")
    before, mine, most = (
        loss(members[0](x), LABELS) for x in (images, one, i_fgsm(members[0], images, LABELS))
    )
    assert (mine - before > 0.8 * (most - before)).all()


def test_settings_that_cannot_be(members, images):
    with pytest.raises(InputError, match=r"diversity is 0\.5; svre has none"):
        svre(members[0], images, diversity=0.5)
    with pytest.raises(InputError, match="reverse is 0; expected more than 0"):
        cwa(members[0], images, reverse=0)
    with pytest.raises(InputError, match="inner is 0; expected at least 1"):
        svre(members[0], images, inner=0)
