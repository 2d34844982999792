"""Linear classifiers: the best L∞ perturbation is known in closed form."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nrpurify.attacks import get, pgd, r_fgsm, tap

EPS = 16 / 255
GRADIENT = ["fgsm", "i-fgsm", "pgd", "mi-fgsm", "dim", "fgsm-ti", "mi-fgsm-ti", "dim-ti"]
ANY_WEIGHTS = ["fgsm", "i-fgsm", "pgd", "mi-fgsm"]


class Linear(nn.Module):
    """Two classes; one weight a pixel, so that images have one size."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(0.02 * torch.randn(2, 3, 20, 22, generator=generator))

    def forward(self, images):
        return images.flatten(1) @ self.weight.flatten(1).T

    def direction(self, images, labels):
        away = (self.weight[1] - self.weight[0]).detach().sign()
        return away * (1 - 2 * labels).view(-1, 1, 1, 1)


class Pooled(nn.Module):
    """Two classes; one weight a channel, so that images may be resized and gradients smoothed."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        channels = torch.tensor([0.010, -0.012, 0.008]).view(3, 1, 1)
        self.conv.weight = nn.Parameter(torch.stack([channels, -channels]))

    def forward(self, images):
        return self.conv(images).sum((2, 3))

    def direction(self, images, labels):
        away = (self.conv.weight[1] - self.conv.weight[0]).detach().sign().expand(3, 20, 22)
        return away * (1 - 2 * labels).view(-1, 1, 1, 1)


@pytest.fixture
def photos():
    return torch.rand(4, 3, 20, 22, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def classes():
    return torch.tensor([0, 1, 1, 0])


def loss(model, images, labels):
    return F.cross_entropy(model(images), labels, reduction="none").detach()


def best(model, images, labels):
    return (images + EPS * model.direction(images, labels)).clamp(0, 1)


class Spread(Linear):
    """Two classes and two hopeless ones: the ratio is nearly a multiple of the margin."""

    def forward(self, images):
        two = super().forward(images)
        return torch.cat([two, two.new_full((len(two), 2), -100.0)], 1)


# From a random start PGD's ten steps of 2/255 cannot cross the box of ±16/255; twenty can.
ENOUGH = {"pgd": {"steps": 20}}


@pytest.mark.parametrize("preset", ["paper", "authors"])
@pytest.mark.parametrize(
    ("kind", "name"),
    # the others mix the signs of weights that differ from pixel to pixel
    [(Linear, name) for name in ANY_WEIGHTS] + [(Pooled, name) for name in GRADIENT],
)
def test_the_optimum_is_reached(kind, name, preset, photos, classes):
    model = kind()
    found = get(name).function(
        model, photos, classes, eps=EPS, preset=preset, **ENOUGH.get(name, {})
    )
    optimal = loss(model, best(model, photos, classes), classes)
    assert (loss(model, found, classes) >= 0.99 * optimal).all()
    assert (optimal > 1.5 * loss(model, photos, classes)).all()


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr"])
def test_auto_pgd_reaches_the_optimum_or_stops_at_the_border(name, early_stop, photos, classes):
    model = Spread()
    found = get(name).function(
        model, photos, classes, eps=EPS, steps=20, restarts=1, early_stop=early_stop
    )
    optimal = loss(model, best(model, photos, classes), classes)
    if early_stop:
        assert (model(found).argmax(1) != classes).all()
        assert (loss(model, found, classes) < 0.99 * optimal).any()
    else:
        assert (loss(model, found, classes) >= 0.99 * optimal).all()


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr"])
def test_targeted_auto_pgd_is_the_optimum_of_the_other_class(name, photos, classes):
    model = Spread()
    options = {"eps": EPS, "steps": 20, "restarts": 1, "early_stop": False}
    found = get(name).function(model, photos, 1 - classes, targets=classes, **options)
    optimal = loss(model, best(model, photos, 1 - classes), classes)
    assert (loss(model, found, classes) <= 1.01 * optimal).all()


@pytest.mark.parametrize("targeted", [False, True])
def test_square_reaches_the_optimum_with_enough_queries(targeted, photos, classes):
    model, small, classes = Pooled(), photos[:2, :, :6, :5], classes[:2]
    model.conv.weight.data *= 20
    away = EPS * model.direction(small, classes)[..., :6, :5]
    goal = {"targets": 1 - classes} if targeted else {"labels": classes}
    found = get("square").function(
        model, small, eps=EPS, steps=1500, early_stop=False, **goal,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    optimal = loss(model, (small + away).clamp(0, 1), classes)
    assert (loss(model, found, classes) >= 0.99 * optimal).all()
    assert (optimal > 1.2 * loss(model, small, classes)).all()


@pytest.mark.parametrize("name", GRADIENT)
def test_targeted_is_the_optimum_of_the_other_class(name, photos, classes):
    model = Pooled()
    found = get(name).function(model, photos, targets=classes, eps=EPS, **ENOUGH.get(name, {}))
    optimal = loss(model, best(model, photos, 1 - classes), classes)
    assert (loss(model, found, classes) <= 1.01 * optimal).all()


def test_eps_may_differ_from_image_to_image(photos, classes):
    model = Linear()
    eps = torch.tensor([2.0, 4.0, 8.0, 100.0]) / 255
    found = get("mi-fgsm").function(model, photos, classes, eps=eps)
    expected = (photos + eps.view(-1, 1, 1, 1) * model.direction(photos, classes)).clamp(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_r_fgsm_steps_a_third_at_random_and_the_rest_uphill(classes):
    model = Linear()
    photos = torch.full((4, 3, 20, 22), 0.5)
    found = r_fgsm(model, photos, classes, eps=EPS, generator=torch.Generator().manual_seed(0))
    along = (found - photos) * model.direction(photos, classes) / EPS
    with_it, against = along > 0.9, (along - 1 / 3).abs() < 1e-5
    torch.testing.assert_close(along[with_it], torch.ones_like(along[with_it]))
    assert (with_it | against).all()
    assert abs(with_it.float().mean() - 0.5) < 0.03


def test_r_fgsm_with_a_small_random_step_reaches_the_optimum(photos, classes):
    model = Linear()
    found = r_fgsm(model, photos, classes, eps=EPS, start_share=1e-3)
    optimal = loss(model, best(model, photos, classes), classes)
    assert (loss(model, found, classes) >= 0.99 * optimal).all()


def test_tap_agrees_where_all_its_terms_do(classes):
    model = Pooled()
    photos = torch.full((4, 3, 20, 22), 0.5)  # no pixel's feature changes its sign
    found = tap(model, photos, classes, eps=EPS, features="conv")
    optimal = loss(model, best(model, photos, classes), classes)
    assert (loss(model, found, classes) >= 0.99 * optimal).all()


def test_pgd_starts_anywhere_in_the_box(photos, classes):
    model = Linear()
    one = pgd(model, photos, classes, steps=1, step_size=1e-6, eps=EPS)
    inside = ((one - photos).abs() < 0.9 * EPS).float().mean()
    assert 0.8 < inside < 0.95
