"""Auto-PGD: its schedule, its stops, its ratio, and the same run in another package."""

import numpy as np
import pytest
import torch
from torch import nn

from nrpurify.attacks import apgd_ce, apgd_dlr, pgd
from nrpurify.attacks.apgd import APGDCE, APGDDLR, checkpoints
from nrpurify.attacks.losses import Criterion, dlr, margin
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.restarts import Watch
from nrpurify.core.errors import InputError

EPS = 8 / 255
ATTACKS = {"ce": APGDCE, "dlr": APGDDLR}


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 9, 5),
    ).eval()


@pytest.fixture
def photos():
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def accuracy(model, images, labels):
    return float((model(images).argmax(1) == labels).float().mean())


# --- the schedule ----------------------------------------------------------------------------


def test_checkpoints():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == [1]


def run_single(model, images, labels, attack, start, steps=100):
    radii = torch.full((len(images), 1, 1, 1), EPS)
    problem = AttackProblem(model, images, radii, criterion=Criterion(labels))
    rows, values = torch.arange(len(images)), []
    watch = Watch(lambda _, v: values.append(v), torch.zeros(len(images)))
    found = attack(steps=steps, early_stop=False).ascend(problem, problem, start, rows, watch)
    return found, torch.stack(values)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_run_is_that_of_torchattacks(name, photos):
    """Point by point, with 100 steps: for other numbers torchattacks 3.5.1, as the authors' code,
    adds up rounded parts in place of rounding the paper's sums of parts.

    It also compares the first step with 0 in place of the start's loss. This makes a difference
    only where that one comparison decides about a step size, and does not for these networks.
    """
    package = pytest.importorskip("torchattacks")
    model = network(2)
    labels = model(photos).argmax(1)
    oracle = package.APGD(model, eps=EPS, steps=100, loss=name)
    torch.manual_seed(0)
    best, _, value, _ = oracle.attack_single_run(photos, labels)
    torch.manual_seed(0)
    noise = 2 * torch.rand(photos.shape) - 1
    start = photos + EPS * noise / noise.abs().amax((1, 2, 3), keepdim=True)
    found, _ = run_single(model, photos, labels, ATTACKS[name], start.clamp(0, 1))
    torch.testing.assert_close(found.values, value.detach(), rtol=1e-4, atol=1e-5)
    assert ((found.images - best.detach()).abs() < 1e-5).float().mean() > 0.95


def test_the_step_is_halved_and_the_best_point_kept():
    """Around a peak that is narrower than the steps."""

    class Peak(nn.Module):
        def forward(self, images):
            away = (images - 0.503).abs().mean((1, 2, 3))
            return torch.stack([10 * away, torch.zeros_like(away)], 1)

    photos = torch.full((2, 3, 4, 4), 0.5)
    labels = torch.zeros(2, dtype=torch.int64)
    found, values = run_single(Peak(), photos, labels, APGDCE, photos)
    assert torch.equal(found.values, torch.maximum(values.max(0).values, found.values))
    assert ((found.images - 0.503).abs() < 1e-3).all()
    still = pgd(Peak(), photos, labels, eps=EPS, steps=100, step_size=2 * EPS)
    assert ((still - 0.503).abs() > 1e-2).all()


# --- stops and restarts ----------------------------------------------------------------------


class Counted(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, images):
        self.images += len(images)
        return self.model(images)


@pytest.mark.parametrize("attack", [apgd_ce, apgd_dlr])
def test_misclassified_images_are_left_alone(attack, photos):
    model = Counted(network(2))
    labels = model.model(photos).argmax(1)
    labels[:3] = (labels[:3] + 1) % 5
    model.images = 0
    seen = []
    found = attack(model, photos, labels, eps=0.3, steps=50, callback=lambda k, _: seen.append(k))
    assert torch.equal(found[:3], photos[:3])
    assert accuracy(model.model, found, labels) == 0
    assert model.images < 6 + 3 * 20
    assert len(seen) < 20
    assert seen == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("attack", [apgd_ce, apgd_dlr])
def test_stopping_does_not_depend_on_the_batch(attack, photos):
    model = network(0)
    labels = model(photos).argmax(1)
    options = {"eps": 0.03, "steps": 12, "restarts": 3}
    together = attack(model, photos, labels, generator=torch.Generator().manual_seed(0), **options)
    generator = torch.Generator().manual_seed(0)
    apart = [
        attack(model, photos[k : k + 1], labels[k : k + 1], generator=generator, **options)
        for k in range(6)
    ]
    assert torch.equal(torch.cat(apart), together)
    assert 0 < accuracy(model, together, labels) < 1


def test_stopping_and_going_on_fool_the_same_images(photos):
    model = network(0)
    labels = model(photos).argmax(1)
    stopped, whole = (
        apgd_dlr(
            model, photos, labels, eps=0.03, steps=30, restarts=2, early_stop=early_stop,
            generator=torch.Generator().manual_seed(0),
        )
        for early_stop in (True, False)
    )  # fmt: skip
    assert torch.equal(model(stopped).argmax(1) == labels, model(whole).argmax(1) == labels)
    assert 0 < accuracy(model, whole, labels) < 1


def test_more_attempts_are_never_worse(photos):
    model = network(3)
    labels = model(photos).argmax(1)
    first, third = (
        nn.functional.cross_entropy(
            model(apgd_ce(model, photos, labels, eps=EPS, steps=3, early_stop=False,
                          restarts=restarts, generator=torch.Generator().manual_seed(0))),
            labels, reduction="none",
        )
        for restarts in (1, 3)
    )  # fmt: skip
    assert (third >= first).all()
    assert (third > first).any()


def test_it_is_at_least_as_strong_as_torchattacks(photos):
    package = pytest.importorskip("torchattacks")
    lost = []
    for seed in range(4):
        model = network(seed)
        labels = model(photos).argmax(1)
        for name, attack in (("ce", apgd_ce), ("dlr", apgd_dlr)):
            ours = attack(model, photos, labels, eps=0.03, steps=30, restarts=1)
            theirs = package.APGD(model, eps=0.03, steps=30, loss=name)(photos, labels)
            lost.append(accuracy(model, ours, labels) - accuracy(model, theirs, labels))
    assert np.mean(lost) <= 0.05


# --- losses ----------------------------------------------------------------------------------


def test_the_ratio_of_the_paper():
    logits = torch.tensor([[3.0, 1.0, 0.5, -2.0], [1.0, 4.0, 2.0, 0.0]])
    labels = torch.tensor([0, 0])
    expected = torch.tensor([-(3 - 1) / (3 - 0.5), -(1 - 4) / (4 - 1.0)])
    torch.testing.assert_close(dlr(Criterion(labels), logits[:, None]), expected)
    targeted = torch.tensor([-(3 - 0.5) / (3 - (0.5 - 2) / 2), -(1 - 2) / (4 - (1 + 0) / 2)])
    goal = Criterion(torch.tensor([2, 2]), True, labels)
    torch.testing.assert_close(dlr(goal, logits[:, None]), targeted)


def test_the_ratio_ignores_scale_and_shift_and_averages_draws():
    answers = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1, 5, 0])
    for goal in (Criterion(labels), Criterion(labels, True, (labels + 1) % 6)):
        moved = answers * torch.rand(3, 4, 1).add(0.5) + torch.randn(3, 4, 1)
        torch.testing.assert_close(dlr(goal, answers), dlr(goal, moved))
        each = torch.stack([dlr(goal, answers[:, k : k + 1]) for k in range(4)])
        torch.testing.assert_close(dlr(goal, answers), each.mean(0))


def test_a_margin_is_positive_where_the_goal_is_reached():
    answers = torch.randn(40, 1, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(40) % 4
    for targeted in (False, True):
        goal = Criterion(classes, targeted)
        assert torch.equal(margin(goal, answers) > 0, goal.reached(answers))


def test_the_ratio_needs_classes_to_compare(photos):
    few = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    labels = torch.zeros(6, dtype=torch.int64)
    with pytest.raises(InputError, match="at least 4 classes here; the surrogate has 3"):
        apgd_dlr(few, photos, labels, targets=labels + 1)
    two = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
    with pytest.raises(InputError, match=r"at least 3 classes .* has 2: take .*apgd-ce"):
        apgd_dlr(two, photos, labels)


def test_targeted_starts_at_the_labels_or_at_what_the_model_says(photos):
    model = network(2)
    labels = model(photos).argmax(1)
    targets = (labels + 2) % 5
    told, asked = (
        apgd_dlr(
            model, photos, given, targets=targets, eps=0.3, steps=40,
            generator=torch.Generator().manual_seed(0),
        )
        for given in (labels, None)
    )  # fmt: skip
    assert torch.equal(told, asked)
    assert accuracy(model, told, targets) == 1
    with pytest.raises(InputError, match="labels has class 5"):
        apgd_dlr(model, photos, labels + 5 - labels, targets=targets)
