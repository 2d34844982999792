"""The Square attack: scores only, its schedule, and the same strength as another package's."""

import pytest
import torch
from torch import nn

from nrpurify.attacks import BPDA, Square, square
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.square_l2 import moved, pattern, peak, tiles
from nrpurify.defenses import Protected


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 5)
    ).eval()


@pytest.fixture
def photos():
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class ScoresOnly(nn.Module):
    """Counts queries; refuses gradients, and answers with none."""

    def __init__(self, model):
        super().__init__()
        self.model, self.queries = model, []

    def forward(self, images):
        if torch.is_grad_enabled():
            raise AssertionError("a gradient was asked for")
        assert not images.requires_grad
        self.queries.append(images.clone())
        return self.model(images)


def accuracy(model, images, labels):
    return float((model(images).argmax(1) == labels).float().mean())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_no_gradient_is_ever_asked_for(photos):
    model = ScoresOnly(network(0))
    assert square(model, photos, steps=3).shape == photos.shape
    square(model, photos, targets=torch.ones(6, dtype=torch.int64), steps=3, amp=True)
    assert model.queries


@pytest.mark.parametrize("early_stop", [True, False])
def test_steps_are_queries(photos, early_stop):
    model = ScoresOnly(network(0))
    labels = model.model(photos).argmax(1)
    square(model, photos, labels, steps=20, restarts=2, early_stop=early_stop, eps=1 / 255)
    assert len(model.queries) == 6 * (1 + 2 * 20)


def test_stripes_then_squares_of_eps(photos):
    model = ScoresOnly(network(0))
    gray = torch.full((1, 3, 16, 16), 0.5)
    label = model.model(gray).argmax(1)
    square(model, gray, label, steps=2, eps=0.1, p_init=0.25, early_stop=False, generator=seeded())
    _, stripes, squared = ((query - gray) / 0.1 for query in model.queries)
    torch.testing.assert_close(stripes.abs(), torch.ones_like(stripes))
    assert torch.equal(stripes, stripes[:, :, :1].expand_as(stripes))
    assert stripes.unique().numel() == 2
    changed = (squared - stripes).abs().amax((0, 1)) > 0.5
    rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
    assert rows.numel() <= 8
    assert columns.max() - columns.min() < 8
    torch.testing.assert_close(squared.abs(), torch.ones_like(squared))


def test_squares_shrink():
    plan = Square()
    sides = [plan.side(step, 224, 224) for step in (0, 5, 6, 25, 26, 2500, 4001, 4999)]
    assert sides == [200, 200, 142, 142, 100, 18, 9, 9]
    assert Square.create("authors").side(0, 224, 224) == 50
    assert plan.side(4999, 4, 4) == 1
    assert plan.side(0, 4, 40) == 4


def test_misclassified_images_are_left_alone(photos):
    model = ScoresOnly(network(0))
    labels = model.model(photos).argmax(1)
    labels[:3] = (labels[:3] + 1) % 5
    found = square(model, photos, labels, eps=0.5, steps=400, generator=seeded())
    assert torch.equal(found[:3], photos[:3])
    assert accuracy(model.model, found, labels) == 0
    assert len(model.queries) < 600


def test_stopping_does_not_depend_on_the_batch(photos):
    model = network(0)
    labels = model(photos).argmax(1)
    options = {"eps": 0.03, "steps": 60, "restarts": 2}
    together = square(model, photos, labels, generator=seeded(), **options)
    generator = seeded()
    apart = [
        square(model, photos[k : k + 1], labels[k : k + 1], generator=generator, **options)
        for k in range(6)
    ]
    assert torch.equal(torch.cat(apart), together)


def test_the_callback_sees_margins_that_only_grow(photos):
    model = network(0)
    seen = []
    found = square(
        model, photos, steps=50, early_stop=False, callback=lambda _, v: seen.append(v),
        generator=seeded(),
    )  # fmt: skip
    values = torch.stack(seen)[1:]
    assert (values[1:] >= values[:-1]).all()
    logits, labels = model(found), model(photos).argmax(1)
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -float("inf")).amax(1)
    assert (others - own >= values[-1] - 1e-6).all()


def test_a_defense_without_gradients_does_not_hinder_it(photos):
    class Quantize(nn.Module):
        def forward(self, images):
            return (images * 8).round() / 8

    model = network(0)
    for victim in (Protected(model, Quantize()), Protected(model, BPDA(Quantize()))):
        labels = victim(photos).argmax(1)
        found = square(victim, photos, labels, eps=0.3, steps=200, generator=seeded())
        assert accuracy(victim, found, labels) == 0


def test_patterns_of_the_paper():
    """η of Eq. 2: peaks of opposite sign; their sums, written out pixel by pixel."""
    found = pattern(5, seeded(1))
    found = found if found[0, 2] * found[0, 0] > 0 and found[1, 2] > found[0, 2] else found.T
    upper, lower = found[:2], found[2:]
    assert (upper > 0).all()
    assert (lower < 0).all()
    torch.testing.assert_close(found.norm(), torch.tensor(1.0))
    expected = torch.zeros(3, 5)
    for row in range(3):
        for column in range(5):
            distance = max(abs(row - 1), abs(column - 2))
            expected[row, column] = sum(1 / (j + 1) ** 2 for j in range(distance, 3))
    torch.testing.assert_close(peak(3, 5), expected / expected.norm())


def test_in_l2_a_square_gets_the_length_that_another_gives_back():
    gray = torch.full((2, 3, 15, 12), 0.5)
    radii = torch.full((2, 1, 1, 1), 0.8)
    problem = AttackProblem(None, gray, radii, "l2", source=seeded())
    first = tiles(problem)
    assert ((first - gray).flatten(1).norm(dim=1) - 0.8).abs().max() < 1e-5
    shrunk = gray + 0.9 * (first - gray)
    for images in (first, shrunk):
        second = moved(images, problem, torch.tensor([1]), 4)
        assert torch.equal(second[0], images[0])
        assert abs(float((second[1] - gray[1]).norm()) - 0.8) < 1e-5
        changed = (second[1] - images[1]).abs().amax(0) > 1e-7
        assert 25 <= int(changed.sum()) <= 50  # one square of 5×5, or two
    tiny = torch.full((1, 3, 2, 2), 0.5)
    small = AttackProblem(None, tiny, radii[:1], "l2", source=seeded())
    assert moved(tiles(small), small, torch.tensor([0]), 1).isfinite().all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_as_strong_as_torchattacks(norm, photos):
    """In the mean: draws differ, and torchattacks 3.5.1 never paints the last row and column."""
    package = pytest.importorskip("torchattacks")
    ours, theirs, eps = [], [], {"linf": 0.04, "l2": 0.7}[norm]
    for seed in range(4):
        model = network(seed)
        labels = model(photos).argmax(1)
        found = square(model, photos, labels, eps=eps, norm=norm, steps=101, generator=seeded(seed))
        kind = {"linf": "Linf", "l2": "L2"}[norm]
        attack = package.Square(model, norm=kind, eps=eps, n_queries=100, seed=seed)
        torch.manual_seed(seed)
        ours.append(accuracy(model, found, labels))
        theirs.append(accuracy(model, attack(photos, labels), labels))
    assert 0.1 < sum(theirs) / 4 < 0.9
    assert abs(sum(ours) - sum(theirs)) / 4 <= 0.15
