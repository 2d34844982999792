"""SimBA and NES: bases, estimates, queries, and their formulas on linear models."""

import pytest
import torch
from torch import nn

from nrpurify.attacks import nes, simba
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.nes import NES
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.simba import SimBA, cosines
from nrpurify.core.errors import InputError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Counted(nn.Module):
    """A linear classifier that counts images and refuses gradients."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.weight = scale * torch.randn(4, 3 * 8 * 6, generator=seeded(3)) / 4
        self.queries = 0

    def forward(self, images):
        assert not torch.is_grad_enabled()
        self.queries += len(images)
        return (images - 0.5).flatten(1) @ self.weight.T


@pytest.fixture
def images():
    return 0.3 + 0.4 * torch.rand(3, 3, 8, 6, generator=seeded(1))


def chance(model, images, labels):
    with torch.no_grad():
        return model(images).softmax(1).gather(1, labels[:, None])[:, 0]


def labels_of(model, images):
    with torch.no_grad():
        return model(images).argmax(1)


# --- SimBA -----------------------------------------------------------------------------------


def test_cosines_are_those_of_scipy():
    fft = pytest.importorskip("scipy.fft")
    rows = torch.tensor(fft.dct(torch.eye(7).numpy(), axis=0, norm="ortho"))
    torch.testing.assert_close(cosines(7, 4), rows[:4], atol=1e-6, rtol=0)


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_directions_are_orthonormal_and_come_once_each(basis):
    attack = SimBA(basis=basis, frequencies=0.5)
    directions = attack.directions(torch.Size((3, 8, 6)), seeded())
    count = 144 if basis == "pixel" else 3 * 4 * 3
    rows = torch.stack([next(directions) for _ in range(2 * count)]).flatten(1)
    torch.testing.assert_close(rows[:count] @ rows[:count].T, torch.eye(count), atol=1e-5, rtol=0)
    again = (rows[:count] @ rows[count:].T).abs()
    torch.testing.assert_close(again.sum(0), torch.ones(count), atol=1e-4, rtol=0)
    assert not torch.equal(rows[:count], rows[count:])


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_simba_follows_its_algorithm(basis, images):
    model = Counted()
    labels = labels_of(model, images)
    options = {"steps": 30, "early_stop": False, "basis": basis}
    found = simba(
        model, images, labels, eps=5.0, norm="l2", step_size=0.1,
        generator=[seeded(k) for k in range(3)], **options,
    )  # fmt: skip
    for row in range(3):
        x, label = images[row : row + 1], labels[row : row + 1]
        directions = SimBA(basis=basis).directions(images[0].shape, seeded(row))
        for _ in range(30):
            move = next(directions)
            for sign in (1, -1):
                trial = (x + sign * 0.1 * move).clamp(0, 1)
                if chance(model, trial, label) < chance(model, x, label):
                    x = trial
                    break
        torch.testing.assert_close(found[row : row + 1], x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("targeted", [False, True])
def test_simba_needs_one_or_two_queries_a_step(targeted, images):
    model = Counted()
    labels = labels_of(model, images)
    goal = {"targets": (labels + 1) % 4} if targeted else {"labels": labels}
    model.queries = 0
    found = simba(model, images, steps=20, early_stop=False, generator=seeded(), eps=0.1, **goal)
    assert 3 * (2 + 20) <= model.queries <= 3 * (2 + 40)
    known = next(iter(goal.values()))
    gain = chance(model, found, known) - chance(model, images, known)
    assert (gain * (1 if targeted else -1) > 0).all()
    assert (found - images).abs().max() <= 0.1 + 1e-6


def test_simba_stops(images):
    model = Counted(scale=3.0)
    labels = labels_of(model, images)
    wrong = labels.clone()
    wrong[0] = (labels[0] + 1) % 4
    found = simba(model, images, wrong, eps=1.0, steps=400, generator=seeded())
    assert torch.equal(found[0], images[0])
    assert (labels_of(model, found) != wrong).all()


# --- NES -------------------------------------------------------------------------------------


def test_the_estimate_is_the_mean_of_noise_times_losses(images):
    model = Counted()
    labels = labels_of(model, images)
    problem = AttackProblem(
        model, images, torch.full((3, 1, 1, 1), 0.1), criterion=Criterion(labels),
        source=[seeded(k) for k in range(3)],
    )  # fmt: skip
    with torch.no_grad():
        found = NES(samples=6).estimate(problem, problem, images, torch.arange(3), 1)
        noise = torch.randn((3, 3, 8, 6), generator=seeded(1))
        sides = [model(images[1] + sign * 0.001 * noise) for sign in (1, -1)]
        known = labels[1].expand(3)
        losses = [nn.functional.cross_entropy(x, known, reduction="none") for x in sides]
    difference = (losses[0] - losses[1]).view(3, 1, 1, 1)
    expected = (difference * noise).sum(0) / (6 * 0.001)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_with_many_samples_it_is_the_gradient(images):
    model = Counted()
    labels = labels_of(model, images)
    problem = AttackProblem(
        model, images, torch.full((3, 1, 1, 1), 0.1), criterion=Criterion(labels), source=seeded()
    )
    with torch.no_grad():
        attack, rows = NES(samples=4000, deviation=0.05), torch.arange(3)
        found = attack.estimate(problem, problem, images, rows, 0)
    point = images[:1].clone().requires_grad_(True)
    logits = (point - 0.5).flatten(1) @ model.weight.T
    nn.functional.cross_entropy(logits, labels[:1]).backward()
    assert nn.functional.cosine_similarity(found.flatten(), point.grad.flatten(), dim=0) > 0.95


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nes_nears_the_optimum_on_a_linear_model(norm, images):
    model = Counted()
    labels = labels_of(model, images)
    eps, size = (0.05, 0.01) if norm == "linf" else (0.5, 0.1)
    model.queries = 0
    found = nes(
        model, images, labels, eps=eps, norm=norm, steps=12, step_size=size, samples=60,
        early_stop=False, generator=seeded(),
    )  # fmt: skip
    assert model.queries == 3 * (2 + 12 * 61)
    from nrpurify.attacks import pgd

    class Open(Counted):
        def forward(self, images):
            return (images - 0.5).flatten(1) @ self.weight.T

    best = pgd(Open(), images, labels, eps=eps, norm=norm, steps=30)
    fall, most = (chance(model, images, labels) - chance(model, x, labels) for x in (found, best))
    assert (fall > 0.6 * most).all()


def test_nes_stops_and_leads_to_targets(images):
    model = Counted(scale=3.0)
    targets = (labels_of(model, images) + 1) % 4
    targets[0] = labels_of(model, images)[0]
    found = nes(model, images, targets=targets, eps=0.3, steps=60, generator=seeded())
    assert torch.equal(found[0], images[0])
    assert torch.equal(labels_of(model, found), targets)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NES(samples=5), "samples is 5; expected an even number"),
        (lambda: NES(deviation=0), "deviation is 0; expected more than 0"),
        (lambda: SimBA(basis="wavelet"), "basis is 'wavelet'; expected pixel or dct"),
        (lambda: SimBA(step_size=0), "step_size is 0; expected more than 0"),
        (lambda: SimBA(frequencies=2), r"frequencies is 2; expected a value in \(0, 1\]"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(InputError, match=message):
        make()
