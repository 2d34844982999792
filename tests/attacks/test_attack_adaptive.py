"""Ensembles, BPDA and EOT, alone and together."""

import contextlib
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nrpurify.attacks import BPDA, EOT, Ensemble, apgd_ce, fgsm, frozen, get, i_fgsm, pgd, tap
from nrpurify.core.errors import GradientWarning, InputError
from nrpurify.defenses import Protected
from nrpurify.models import Classifier
from nrpurify.purifiers import DynamicPurifier
from nrpurify.weights import Preprocessing


class Quantize(nn.Module):
    """Rounds to five levels: no gradient anywhere."""

    def forward(self, images):
        return (images * 4).round() / 4


class Jitter(nn.Module):
    """Multiplies each image by a random number, which it remembers."""

    def __init__(self, once_a_batch=False):
        super().__init__()
        self.once = once_a_batch
        self.generator = torch.Generator().manual_seed(1)
        self.seen = []

    def forward(self, images):
        count = 1 if self.once else len(images)
        factors = torch.rand(count, 1, 1, 1, generator=self.generator)
        self.seen.append(factors.flatten().tolist())
        return images * factors


class Flat(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3 * 12 * 10, 5)

    def forward(self, images):
        return self.linear(images.flatten(1))


def loss(model, images, labels):
    return F.cross_entropy(model(images), labels, reduction="none").detach()


# --- ensembles -------------------------------------------------------------------------------


def test_an_ensemble_answers_the_mean_of_the_logits(images):
    first, second = Flat(0), Flat(1)
    expected = (first(images) + second(images)) / 2
    torch.testing.assert_close(Ensemble(first, second)(images), expected)


def test_a_list_of_members_is_refused_with_the_way_to_write_it():
    with pytest.raises(InputError, match=r"is a list; .*Ensemble\(first, second\)"):
        Ensemble([Flat(0), Flat(1)])


def test_members_may_differ_in_input_size_and_precision(classifier, images, labels):
    small, large, double = (
        Classifier(network, name=str(size), num_classes=5, preprocessing=sized)
        for network, size, sized in (
            (classifier, 8, Preprocessing((0.5,) * 3, (0.2,) * 3, size=8)),
            (Flat(), 12, None),
            (Flat().double(), 12, None),
        )
    )
    model = Ensemble(small, large, double)
    assert model(images).shape == (3, 5)
    found = get("mi-fgsm").function(model, images, labels, steps=3)
    assert (loss(model.eval(), found, labels) > loss(model, images, labels)).all()


@pytest.mark.parametrize("name", ["fgsm", "pgd", "tap", "mi-fgsm-ti"])
def test_every_attack_takes_an_ensemble(name, classifier, images, labels):
    model = Ensemble(classifier, deepcopy(classifier))
    options = {"features": "models.0.0"} if name == "tap" else {}
    torch.manual_seed(0)
    found = get(name).function(model, images, labels, **options)
    options = {"features": "0"} if name == "tap" else options
    torch.manual_seed(0)
    alone = get(name).function(classifier, images, labels, **options)
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-6)
    assert classifier[0].training
    assert not classifier[4].training


def test_members_that_do_not_fit(images):
    other = nn.Sequential(nn.Flatten(), nn.Linear(360, 4))
    with pytest.raises(InputError, match="5, 4 classes; expected the same number"):
        Ensemble(Flat(), other)(images)
    with pytest.raises(InputError, match="at least one"):
        Ensemble()


# --- BPDA ------------------------------------------------------------------------------------


def test_bpda_forwards_the_defense_and_hands_the_gradient_through(images):
    point = images.clone().requires_grad_(True)
    defended = BPDA(Quantize())(point)
    assert torch.equal(defended, Quantize()(images))
    weight = torch.rand_like(images)
    (defended * weight).sum().backward()
    assert torch.equal(point.grad, weight)


def test_bpda_with_a_surrogate_has_its_gradient(images):
    point = images.clone().requires_grad_(True)
    surrogate = nn.Conv2d(3, 3, 3, padding=1)
    wrapped = BPDA(Quantize(), surrogate)
    (gradient,) = torch.autograd.grad(wrapped(point).square().sum(), point)
    (expected,) = torch.autograd.grad(surrogate(point), point, 2 * Quantize()(images))
    torch.testing.assert_close(gradient, expected)


def test_bpda_attacks_where_the_plain_gradient_is_zero(images, labels):
    victim = Protected(Flat(), Quantize())
    with pytest.warns(GradientWarning, match="zero everywhere"):
        assert torch.equal(fgsm(victim, images, labels), images)
    found = i_fgsm(Protected(Flat(), BPDA(Quantize())), images, labels, eps=0.2)
    assert (loss(victim, found, labels) > 1.2 * loss(victim, images, labels)).all()


def test_bpda_freezes_defense_and_surrogate(images, labels):
    defense = nn.Sequential(Quantize(), nn.Dropout(0.9)).train()
    surrogate = nn.Conv2d(3, 3, 1).train()
    model = Protected(Flat(), BPDA(defense, surrogate))
    assert torch.equal(fgsm(model, images, labels), fgsm(model, images, labels))
    assert defense[1].training
    assert surrogate.training
    assert surrogate.weight.grad is None
    assert surrogate.weight.requires_grad


def test_a_defense_of_another_size_needs_a_surrogate_of_that_size(images):
    half = nn.AvgPool2d(2)
    with pytest.raises(InputError, match=r"into \(3, 3, 6, 5\), its surrogate into \(3, 3, 12"):
        BPDA(half)(images)
    assert BPDA(half, nn.MaxPool2d(2))(images).shape == (3, 3, 6, 5)


# --- EOT -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [True, False])
def test_eot_takes_the_mean_loss_of_its_draws(batched, images, labels):
    jitter = Jitter()
    values = []
    fgsm(
        EOT(Protected(Flat(), jitter), 4, batched=batched),
        images,
        labels,
        callback=lambda _, v: values.append(v),
    )
    # one call with four rows an image, or four calls with a row for each image
    factors = torch.tensor(jitter.seen)
    factors = (factors.view(3, 4) if batched else factors.view(4, 3).T)[..., None, None, None]
    model = Flat()
    each = torch.stack([loss(model, images * factors[:, k], labels) for k in range(4)])
    torch.testing.assert_close(values[0], each.mean(0))
    assert len(set(factors.flatten().tolist())) == 12


def test_eot_s_gradient_is_the_mean_gradient(images, labels):
    jitter = Jitter()
    model = Flat()
    found = fgsm(EOT(Protected(model, jitter), 8), images, labels, eps=0.01)
    factors = torch.tensor(jitter.seen).view(3, 8, 1, 1, 1)
    point = images.clone().requires_grad_(True)
    total = sum(
        F.cross_entropy(model(point * factors[:, k]), labels, reduction="sum") for k in range(8)
    )
    (gradient,) = torch.autograd.grad(total, point)
    torch.testing.assert_close(found, (images + 0.01 * gradient.sign()).clamp(0, 1))


def test_a_defense_that_draws_once_a_batch_is_asked_draw_by_draw(images, labels):
    jitter = Jitter(once_a_batch=True)
    fgsm(EOT(Protected(Flat(), jitter), 4, batched=False), images[:1], labels[:1])
    assert len({x for seen in jitter.seen for x in seen}) == 4


def test_eot_is_a_classifier_of_mean_logits(images):
    model = EOT(Flat(), 3)
    torch.testing.assert_close(model(images), Flat()(images))
    assert model.each(images).shape == (3, 3, 5)
    assert torch.equal(pgd(model, images, start="clean"), pgd(Flat(), images, start="clean"))


@pytest.mark.parametrize("batched", [True, False])
def test_eot_around_bpda_around_a_random_defense(batched, images, labels):
    defense = nn.Sequential(Jitter(), Quantize())
    model = EOT(Protected(Flat(), BPDA(defense)), 6, batched=batched)
    found = i_fgsm(model, images, labels, eps=0.2)
    assert (loss(model, found, labels) > 1.1 * loss(model, images, labels)).all()


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("amp", [True, False])
def test_tap_averages_features_over_draws(batched, amp, classifier, images, labels):
    """Without randomness any number of draws is the same."""
    options = {"steps": 3, "amp": amp, "feature_weight": 1.0}
    values = []
    for model, layer in ((classifier, "3"), (EOT(classifier, 3, batched=batched), "model.3")):
        tap(
            model, images, labels, features=layer, **options,
            callback=lambda step, v: values.append(v) if step == 3 else None,
        )  # fmt: skip
    torch.testing.assert_close(*values, rtol=2e-2 if amp else 1e-4, atol=0)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("attack", [pgd, apgd_ce])
def test_eot_through_a_dynamic_purifier(attack, batched, images, labels):
    class Seen(nn.Conv2d):
        def forward(self, images):
            seen.append(images.detach())
            return super().forward(images)

    seen = []
    torch.manual_seed(2)
    defense = DynamicPurifier(Seen(3, 3, 3, padding=1), generator=torch.Generator().manual_seed(4))
    model = EOT(Protected(Flat(), defense), 8, batched=batched)
    options = {"early_stop": False} if attack is apgd_ce else {"step_size": 0.05}
    found = attack(model, images, labels, eps=0.2, steps=6, **options)
    draws = torch.cat(seen[-8:])
    assert draws.flatten(1).unique(dim=0).shape[0] == len(draws)
    quiet = Protected(Flat(), defense.purifier)
    assert (loss(quiet, found, labels) > 1.1 * loss(quiet, images, labels)).all()


def test_bpda_through_a_purifier_of_one_s_own_beats_the_identity(images, labels):
    """A defense that turns colors about misleads the identity, not a purifier that does so too."""

    class Negative(nn.Module):
        def forward(self, images):
            return 1 - (images * 16).round() / 16

    own = nn.Conv2d(3, 3, 1)
    own.weight = nn.Parameter(-torch.eye(3)[..., None, None])
    own.bias = nn.Parameter(torch.ones(3))
    victim = Protected(Flat(), Negative())
    straight, through = (
        apgd_ce(Protected(Flat(), BPDA(*parts)), images, labels, eps=0.2, early_stop=False, steps=9)
        for parts in ((Negative(),), (Negative(), own))
    )
    assert (loss(victim, through, labels) > 1.2 * loss(victim, straight, labels)).all()


def test_no_draw():
    with pytest.raises(InputError, match="eot_samples is 0"):
        EOT(Flat(), 0)


# --- frozen ----------------------------------------------------------------------------------


def test_frozen_restores_each_flag_also_after_an_error(classifier):
    modes = [module.training for module in classifier.modules()]
    flags = [weight.requires_grad for weight in classifier.parameters()]
    assert len(set(modes)) == len(set(flags)) == 2
    with contextlib.suppress(RuntimeError), frozen(classifier, len):
        assert not any(module.training for module in classifier.modules())
        assert not any(weight.requires_grad for weight in classifier.parameters())
        raise RuntimeError
    assert [module.training for module in classifier.modules()] == modes
    assert [weight.requires_grad for weight in classifier.parameters()] == flags
