"""Transfer attacks since 2019 beside torchattacks 3.5.1 and torchattack 1.7.2: to 1e-5.

Where others draw for a whole batch from torch's global generator, they are handed our draws.
"""

import sys

import pytest
import torch
from torch import nn

from nrpurify.attacks import (
    admix,
    gra,
    logit,
    ni_fgsm,
    pgn,
    pi_fgsm,
    sgm,
    si_ni_fgsm,
    ssa,
    vmi_fgsm,
    vni_fgsm,
)
from nrpurify.attacks.gradient import l1_normalized
from nrpurify.attacks.starts import per_image, start_each
from nrpurify.attacks.transforms import gaussian_kernel, smoother

EPS, STEP, STEPS, SAMPLES = 8 / 255, 2 / 255, 7, 3
LABELS = torch.tensor([1, 0, 4])
TARGETS = torch.tensor([3, 2, 0])
SETTINGS = {"eps": EPS, "steps": STEPS, "step_size": STEP}


@pytest.fixture
def images():
    """Far enough from 0 and 1 that no neighbor is clipped, which the others do not do."""
    return 0.3 + 0.4 * torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def same(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected).detach(), rtol=0, atol=1e-5)


def seeded():
    return torch.Generator().manual_seed(5)


def hand_over(monkeypatch, count=STEPS * SAMPLES):
    """Give the other package's ``uniform_`` the draws that ours will make."""
    generators = per_image(seeded(), 3)
    flat = torch.zeros(3, 3, 16, 16)
    draws = iter([start_each("uniform", flat, 1.0, generators) for _ in range(count)])
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda x, low, high: x.copy_(high * next(draws)))


def targeted(attack, images):
    attack.set_mode_targeted_by_label(quiet=True)
    return attack(images, TARGETS)


@pytest.mark.parametrize("toward", [False, True])
@pytest.mark.parametrize("kind", ["ni", "si-ni"])
def test_looking_ahead(kind, toward, model, images):
    package = pytest.importorskip("torchattacks")
    if kind == "ni":
        attack, ours = package.NIFGSM(model, EPS, STEP, STEPS, 1.0), ni_fgsm
    else:
        attack, ours = package.SINIFGSM(model, EPS, STEP, STEPS, 1.0, m=5), si_ni_fgsm
    if toward:
        same(ours(model, images, targets=TARGETS, **SETTINGS), targeted(attack, images))
    else:
        same(ours(model, images, LABELS, **SETTINGS), attack(images, LABELS))


def test_torchattack_forgets_its_momentum(model, images):
    """Its NI-FGSM adds the decayed gradient, not the sum so far; one step is the same."""
    package = pytest.importorskip("torchattack")
    options = {"model": model, "device": torch.device("cpu"), "eps": EPS, "alpha": STEP}
    one = package.NIFGSM(**options, steps=1)(images, LABELS)
    same(ni_fgsm(model, images, LABELS, eps=EPS, steps=1, step_size=STEP), one)
    many = package.NIFGSM(**options, steps=STEPS)(images, LABELS)
    assert not torch.allclose(ni_fgsm(model, images, LABELS, **SETTINGS), many, atol=1e-5)


@pytest.mark.parametrize("name", ["torchattacks", "torchattack"])
@pytest.mark.parametrize("kind", ["VMIFGSM", "VNIFGSM"])
def test_variance_tuning(kind, name, model, images, monkeypatch):
    package = pytest.importorskip(name)
    if name == "torchattacks":
        attack = getattr(package, kind)(model, EPS, STEP, STEPS, 1.0, N=SAMPLES, beta=1.5)
    else:
        options = {"model": model, "device": torch.device("cpu"), "eps": EPS, "alpha": STEP}
        attack = getattr(package, kind)(**options, steps=STEPS, n=SAMPLES, beta=1.5)
    hand_over(monkeypatch)
    expected = attack(images, LABELS).detach()
    monkeypatch.undo()
    ours = {"VMIFGSM": vmi_fgsm, "VNIFGSM": vni_fgsm}[kind]
    same(ours(model, images, LABELS, samples=SAMPLES, generator=seeded(), **SETTINGS), expected)


@pytest.mark.parametrize("amplification", [2.5, 10.0])
def test_patch_wise(amplification, model, images):
    package = pytest.importorskip("torchattacks")
    attack = package.PIFGSM(model, max_epsilon=EPS, num_iter_set=STEPS, amplification=amplification)
    found = pi_fgsm(model, images, LABELS, eps=EPS, steps=STEPS, amplification=amplification)
    same(found, attack(images, LABELS))


def test_gradient_relevance(model, images, monkeypatch):
    """torchattack compares accumulated gradients, not their signs, so that its steps always
    shrink; without shrinking both are the same.
    """
    package = pytest.importorskip("torchattack")
    attack = package.GRA(
        model=model, device=torch.device("cpu"), eps=EPS, alpha=STEP, steps=STEPS,
        num_neighbors=SAMPLES, eta=1.0,
    )  # fmt: skip
    hand_over(monkeypatch)
    expected = attack(images, LABELS).detach()
    monkeypatch.undo()
    options = {"samples": SAMPLES, "generator": seeded(), **SETTINGS}
    same(gra(model, images, LABELS, decay=1.0, **options), expected)


def gradient_of(model, images, labels=LABELS):
    """Of the cross entropy, summed over the images."""
    point = images.clone().requires_grad_(True)
    nn.functional.cross_entropy(model(point), labels, reduction="sum").backward()
    return point.grad


def around(radius, count=STEPS * SAMPLES):
    generators = per_image(seeded(), 3)
    for _ in range(count):
        yield start_each("uniform", torch.zeros(3, 3, 16, 16), radius * EPS, generators)


def test_gradient_relevance_from_the_paper(model, images):
    """Algorithm 1 of Zhu et al., 2023, with the decay of steps."""
    noise = around(3.5)
    x, g, scale = images, torch.zeros_like(images), torch.full_like(images, 1 / 0.94)
    for _ in range(STEPS):
        here = gradient_of(model, x)
        near = sum(gradient_of(model, x + next(noise)) for _ in range(SAMPLES)) / SAMPLES
        s = (here * near).sum((1, 2, 3)) / (
            here.flatten(1).norm(dim=1) * near.flatten(1).norm(dim=1)
        )
        s = s.view(-1, 1, 1, 1)
        mixed = s * here + (1 - s) * near
        before, g = g, g + mixed / mixed.abs().mean((1, 2, 3), keepdim=True)
        scale = scale * torch.where(before.sign() == g.sign(), 1.0, 0.94)
        x = images + (x + STEP * scale * g.sign() - images).clamp(-EPS, EPS)
    found = gra(model, images, LABELS, samples=SAMPLES, generator=seeded(), **SETTINGS)
    same(found, x)


def test_flat_maxima_from_the_paper(model, images):
    """Algorithm 1 of Ge et al., 2023."""
    noise = around(3.0)
    x, g = images, torch.zeros_like(images)
    for _ in range(STEPS):
        mean = torch.zeros_like(images)
        for _ in range(SAMPLES):
            near = x + next(noise)
            first = gradient_of(model, near)
            down = near - STEP * first / first.abs().mean((1, 2, 3), keepdim=True)
            mean += (0.5 * first + 0.5 * gradient_of(model, down)) / SAMPLES
        g = g + mean / mean.abs().mean((1, 2, 3), keepdim=True)
        x = images + (x + STEP * g.sign() - images).clamp(-EPS, EPS)
    same(pgn(model, images, LABELS, samples=SAMPLES, generator=seeded(), **SETTINGS), x)


def test_spectrum_simulation(model, monkeypatch):
    """torchattack keeps no momentum, and of several views counts the last one most; with one view
    and without momentum both are the same.
    """
    module = pytest.importorskip("torchattack.ssa")
    images = 0.4 + 0.2 * torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    labels, steps = LABELS[:2], 2
    network = nn.Sequential(nn.AdaptiveAvgPool2d(16), model)
    draws = []
    for generator in per_image(seeded(), 2):
        rows = []
        for _ in range(steps):
            noise = torch.empty(1, 3, 224, 224).normal_(0, EPS, generator=generator) / EPS
            rows.append(noise)
            rows.append(torch.empty(1, 3, 224, 224).uniform_(0.5, 1.5, generator=generator) - 0.5)
        draws.append(rows)
    batches = iter([torch.cat(both) for both in zip(*draws, strict=True)])
    monkeypatch.setattr(torch, "randn", lambda *size, **options: next(batches))
    monkeypatch.setattr(torch, "rand_like", lambda x: next(batches))
    attack = module.SSA(
        model=network, device=torch.device("cpu"), eps=EPS, alpha=STEP, steps=steps, num_spectrum=1
    )
    expected = attack(images, labels).detach()
    monkeypatch.undo()
    options = {"eps": EPS, "step_size": STEP, "steps": steps, "momentum": 0.0, "copies": 1}
    found = ssa(network, images, labels, generator=seeded(), **options)
    # signs of gradients near zero flip, since the transforms round differently
    assert ((found - expected).abs() < 1e-5).float().mean() > 0.999


def test_admix_of_torchattack(model, images, monkeypatch):
    """Theirs mixes with images of the batch. Ours gets these for its photographs; and their loss,
    which divides by classes and views, has the same direction.
    """
    package = pytest.importorskip("torchattack")
    order = torch.tensor([2, 0, 1])
    monkeypatch.setattr(torch, "randperm", lambda count: order)
    attack = package.Admix(
        model=model, device=torch.device("cpu"), eps=EPS, alpha=STEP, steps=1, num_classes=5
    )
    expected = attack(images, LABELS).detach()
    monkeypatch.undo()
    shares = iter(images[order].repeat_interleave(3, 0).split(1))
    module = sys.modules["nrpurify.attacks.admix"]  # the name in the package is the attack
    monkeypatch.setattr(module, "random_crop", lambda size, generator: next(shares))
    same(admix(model, images, LABELS, eps=EPS, steps=1, step_size=STEP), expected)


class Block(nn.Module):
    """As a bottleneck of a ResNet, with the branch's gradient scaled by hand."""

    def __init__(self, gamma=1.0):
        super().__init__()
        self.first, self.last = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.shortcut, self.gamma = nn.Identity(), gamma

    def forward(self, x):
        branch = self.last(nn.functional.softplus(self.first(x)))
        if self.gamma != 1:
            branch = self.gamma * branch + (1 - self.gamma) * branch.detach()
        return nn.functional.softplus(self.shortcut(x) + branch)


def residual_network(gamma=1.0):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), Block(gamma), Block(gamma), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 5),
    ).eval()  # fmt: skip


def test_skip_gradients_from_the_paper(images):
    """Of a network whose branches are scaled by hand, as in eq. 5 of Wu et al., 2020."""
    x, g = images, torch.zeros_like(images)
    for _ in range(STEPS):
        g = g + l1_normalized(gradient_of(residual_network(0.2), x))
        x = images + (x + STEP * g.sign() - images).clamp(-EPS, EPS)
    same(sgm(residual_network(), images, LABELS, **SETTINGS), x)


@pytest.mark.parametrize("toward", [False, True])
def test_logit_from_the_paper(toward, model, images):
    """Without input diversity: the logit's gradient, smoothed, added up as it is."""
    classes, sign = (TARGETS, 1) if toward else (LABELS, -1)
    smooth = smoother(gaussian_kernel(5))
    x, g = images, torch.zeros_like(images)
    for _ in range(STEPS):
        point = x.clone().requires_grad_(True)
        (sign * model(point).gather(1, classes[:, None]).sum()).backward()
        g = g + smooth(point.grad)
        x = images + (x + STEP * g.sign() - images).clamp(-EPS, EPS)
    goal = {"targets": TARGETS} if toward else {"labels": LABELS}
    same(logit(model, images, diversity=0.0, **goal, **SETTINGS), x)
