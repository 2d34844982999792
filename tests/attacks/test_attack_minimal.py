"""Attacks of foolbox: distances on linear models, seeds, networks that they refuse."""

import sys

import pytest
import torch
from torch import nn

from nrpurify.attacks import EOT, Ensemble, cw, ddn, deepfool, fmn, get, hopskipjump
from nrpurify.attacks.runner import AttackRunner, AttackSpec
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.defenses import Protected

NAMES = {
    "deepfool": {"steps": 10, "candidates": 4},
    "ddn": {"steps": 60},
    "fmn": {"steps": 60},
    "cw": {"steps": 150, "searches": 6},
    "hopskipjump": {"steps": 6, "queries": 20},
}
CASES = [(name, norm) for name in NAMES for norm in get(name).info.norms]
LARGE = {"linf": 1.0, "l2": 20.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3 * 6 * 5, generator=seeded(4)) / 10)

    def forward(self, images):
        return (images - 0.5).flatten(1) @ self.weight.T


@pytest.fixture(autouse=True)
def foolbox():
    pytest.importorskip("foolbox")


@pytest.fixture
def images():
    """One of each class, about 0.09 (ℓ∞) and 0.7 (ℓ2) from the next."""
    return 0.5 + Linear().weight.detach()[:3].view(3, 3, 6, 5)


def shortest(model, images, norm):
    """The closed form within [0, 1], which no border here reaches."""
    scores = model(images).detach()
    labels = scores.argmax(1)
    apart = (model.weight[labels][:, None] - model.weight[None]).detach()
    sizes = apart.abs().sum(2) if norm == "linf" else apart.norm(dim=2)
    gaps = scores.gather(1, labels[:, None]) - scores
    return (gaps / sizes.clamp_min(1e-9)).where(gaps > 0, torch.inf).amin(1)


def length(change, norm):
    rows = change.flatten(1)
    return rows.norm(dim=1) if norm == "l2" else rows.abs().amax(1)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_distance_on_a_linear_model(name, norm, images):
    model = Linear()
    found = get(name).function(
        model, images, eps=LARGE[norm], norm=norm, generator=seeded(), **NAMES[name]
    )
    assert (model(found).argmax(1) != model(images).argmax(1)).all()
    ratio = length(found - images, norm) / shortest(model, images, norm)
    assert (ratio >= 0.999).all()
    assert (ratio < (6.0 if name == "hopskipjump" else 1.8)).all()


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_budget_below_the_distance_is_kept_and_the_class_too(name, norm, images):
    model = Linear()
    eps = 0.5 * shortest(model, images, norm)
    found = get(name).function(model, images, eps=eps, norm=norm, generator=seeded(), **NAMES[name])
    assert (length(found - images, norm) <= eps + 1e-6).all()
    assert torch.equal(model(found).argmax(1), model(images).argmax(1))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_decide_and_groups_do_not(name, images):
    model = Linear()
    norm = get(name).info.norms[0]
    labels = model(images).argmax(1)

    def perturb(part, known, generators):
        return get(name).function(
            model, part, known, eps=LARGE[norm], norm=norm, generator=generators, **NAMES[name]
        )

    state = torch.get_rng_state()
    run = AttackRunner(perturb, model, group=2, seed=1)
    together = run(images, labels)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    apart = [run(images[k : k + 1], labels[k : k + 1]) for k in range(3)]
    assert torch.equal(torch.cat(apart), together)


@pytest.mark.parametrize("attack", [ddn, fmn, cw])
def test_targets(attack, images):
    model = Linear()
    targets = (model(images).argmax(1) + 1) % 4
    options = {"norm": "l2", "generator": seeded(), **NAMES[attack.__name__]}
    found = attack(model, images, targets=targets, eps=20.0, **options)
    assert torch.equal(model(found).argmax(1), targets)
    with pytest.raises(InputError, match="takes none, leave them out"):
        hopskipjump(model, images, targets=targets)


def test_an_image_that_is_not_misled_stays_as_it_is(images):
    """CW without success returns a black image in foolbox."""
    found = cw(Linear(), images, eps=20.0, norm="l2", steps=1, searches=1)
    assert torch.equal(found, images)


def test_misclassified_images_are_left_alone(images):
    model = Linear()
    labels = model(images).argmax(1)
    labels[1] = (labels[1] + 1) % 4
    found = deepfool(model, images, labels, eps=1.0)
    assert torch.equal(found[1], images[1])
    assert not torch.equal(found[0], images[0])


@pytest.mark.parametrize("name", NAMES)
def test_random_networks_and_ensembles_are_refused_by_name(name, images):
    model = Linear()
    norm = get(name).info.norms[0]
    for kind, wrapped in (
        ("EOT", EOT(model, 2)),
        ("Ensemble", Ensemble(model, model)),
        ("Ensemble", Protected(Ensemble(model), nn.Identity())),
    ):
        with pytest.raises(InputError, match=rf"{name} is an attack of foolbox .* an {kind}; give"):
            get(name).function(wrapped, images, eps=LARGE[norm], norm=norm)


def test_a_missing_package_is_one_line(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nrpurify\[attacks\]'"):
        deepfool(Linear(), images, eps=1.0)


def test_commands_refuse_before_they_begin(monkeypatch):
    with pytest.raises(InputError, match="surrogate is 'a,b'; fmn works on one network"):
        AttackSpec("fmn", ("a", "b")).check()
    AttackSpec("fmn", ("a",)).check()
    monkeypatch.setattr("nrpurify.attacks.minimal.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nrpurify\[attacks\]'"):
        AttackSpec("fmn", ("a",)).check()


def test_hopskipjump_needs_classes_only(images):
    model = Linear()

    def classes(x):
        assert not x.requires_grad
        return nn.functional.one_hot(model(x).argmax(1), 4).float()

    options = {"steps": 3, "queries": 20, "generator": seeded()}
    found = hopskipjump(classes, images, eps=20.0, norm="l2", **options)
    assert (model(found).argmax(1) != model(images).argmax(1)).all()


def test_a_network_of_one_class_cannot_be_misled(images):
    """HopSkipJump finds no start; the image stays as it is."""
    found = hopskipjump(lambda x: x.new_tensor([[1.0, 0.0]]).expand(len(x), 2), images[:1], eps=1.0)
    assert torch.equal(found, images[:1])
