"""AutoAttack and its parts: projections, targets, order, warnings, and the reference's numbers."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nrpurify.attacks import EOT, AutoAttack, apgd_t, autoattack, fab_t
from nrpurify.attacks import forward as forward_module
from nrpurify.attacks.apgdt import escapes
from nrpurify.attacks.fab import to_hyperplane
from nrpurify.attacks.gradient_log import log_gradients
from nrpurify.attacks.losses import Criterion, Escape
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.runner import AttackRunner, AttackSpec
from nrpurify.core.errors import GradientWarning, InputError

SHORT = {"steps": 5, "queries": 20}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, classes=6):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, classes)
    ).eval()


@pytest.fixture
def photos():
    return torch.rand(6, 3, 8, 8, generator=seeded(1))


def hits(model, images, labels):
    return model(images).argmax(1) == labels


# --- projection on a hyperplane --------------------------------------------------------------


def flat(count, seed):
    x = torch.rand(count, 3, 1, 2, generator=seeded(seed)).double()
    w = torch.randn(count, 3, 1, 2, generator=seeded(seed + 1)).double()
    return x, w


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", range(4))
def test_the_shortest_change_to_a_hyperplane(norm, seed):
    """Against scipy: a linear program in ℓ∞, a quadratic one in ℓ2."""
    optimize = pytest.importorskip("scipy.optimize")
    (x,), (w,) = (value.flatten(1).numpy() for value in flat(1, 10 * seed))
    most = float(np.where(w > 0, w * (1 - x), -w * x).sum())
    least = float(np.where(w > 0, -w * x, w * (1 - x)).sum())
    points, weights = flat(1, 10 * seed)
    for gap in (0.1 * most, 0.6 * most, 0.97 * most, 0.3 * least, 0.9 * least):
        found = to_hyperplane(points, weights, torch.tensor([gap], dtype=torch.float64), norm)
        found = found.flatten().numpy()
        assert w @ found == pytest.approx(gap, abs=1e-9)
        assert (x + found >= -1e-12).all()
        assert (x + found <= 1 + 1e-12).all()
        if norm == "linf":
            rows = np.block([[np.eye(6), -np.ones((6, 1))], [-np.eye(6), -np.ones((6, 1))]])
            best = optimize.linprog(
                [0] * 6 + [1], rows, np.zeros(12), [[*w, 0]], [gap],
                [*((-v, 1 - v) for v in x), (0, None)],
            ).fun  # fmt: skip
            assert np.abs(found).max() == pytest.approx(best, abs=1e-8)
        else:
            best = optimize.minimize(
                lambda d: d @ d, found * 0, jac=lambda d: 2 * d, method="SLSQP", tol=1e-14,
                bounds=[(-v, 1 - v) for v in x],
                constraints={"type": "eq", "fun": lambda d, gap=gap: w @ d - gap},
            ).fun  # fmt: skip
            assert found @ found == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_hyperplane_out_of_reach_takes_all_the_room(norm):
    points, weights = flat(2, 5)
    weights[0, 0] = 0
    found = points + to_hyperplane(points, weights, torch.tensor([100.0, -100.0]).double(), norm)
    upward = (weights > 0).double()
    torch.testing.assert_close(found[1], 1 - upward[1])
    torch.testing.assert_close(found[0, 1:], upward[0, 1:])
    assert torch.equal(found[0, 0], points[0, 0])


# --- FAB-T and APGD-T ------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_what_is_just_within_the_budget_on_a_linear_model(norm):
    weight = torch.randn(4, 3 * 8 * 8, generator=seeded(4)) / 20
    photos = 0.3 + 0.4 * torch.rand(6, 3, 8, 8, generator=seeded(1))

    def model(x):
        return (x - 0.5).flatten(1) @ weight.T

    labels = model(photos).argmax(1)
    gaps = model(photos).gather(1, labels[:, None]) - model(photos)
    apart = weight[labels][:, None] - weight[None]
    sizes = apart.abs().sum(2) if norm == "linf" else apart.norm(dim=2)
    shortest = (gaps / sizes.clamp_min(1e-9)).where(gaps > 0, torch.inf).amin(1)
    for share, held in ((0.97, True), (1.1, False)):
        found = fab_t(model, photos, labels, eps=share * shortest, norm=norm, steps=20)
        assert (hits(model, found, labels) == held).all()


def test_a_part_stops_at_the_first_misclassified_image(photos):
    model = network()
    labels = model(photos).argmax(1)
    wrong = labels.clone()
    wrong[:2] = (labels[:2] + 1) % 6
    for attack in (fab_t, apgd_t):
        found = attack(model, photos, wrong, eps=0.3, steps=15, generator=seeded())
        assert torch.equal(found[:2], photos[:2])
        assert not hits(model, found, wrong).any()
        alone = attack(model, photos[4:5], wrong[4:5], eps=0.3, steps=15, generator=seeded())
        assert not hits(model, alone, wrong[4:5]).any()


def test_targets_are_the_most_likely_classes(photos):
    """Without the label, wherever it stands; an escape is any class but the label."""
    model = network()
    ranked = model(photos).argsort(1, descending=True)
    labels = torch.cat([ranked[:3, 0], ranked[3:, 1]])
    pairs = zip(ranked.tolist(), labels.tolist(), strict=True)
    rest = [[k for k in row if k != label] for row, label in pairs]
    radii = torch.full((6, 1, 1, 1), 0.1)
    problem = AttackProblem(model, photos, radii, criterion=Criterion(labels))
    found = escapes(problem, 3)
    assert torch.stack([one.classes for one in found], 1).tolist() == [row[:3] for row in rest]
    assert len(escapes(problem, 9)) == 5
    answers = torch.eye(6)[:, None]
    goal = Escape(torch.full((6,), 2), True, torch.zeros(6, dtype=torch.int64))
    assert goal.reached(answers).tolist() == [False] + [True] * 5
    assert goal.take(torch.tensor([0, 3])).reached(answers[[0, 3]]).tolist() == [False, True]
    with pytest.raises(InputError, match="at least 4 classes"):
        apgd_t(network(classes=3), photos)


@pytest.mark.parametrize("name", ["apgd-t", "fab-t"])
def test_parts_are_as_strong_as_the_reference(name):
    """In the mean of some networks; both lead toward all nine other classes."""
    reference = pytest.importorskip("pyautoattack.autoattack")
    left = []
    photos = torch.rand(12, 3, 8, 8, generator=seeded(3))
    ours = {"apgd-t": apgd_t, "fab-t": fab_t}[name]
    for seed in range(2):
        model = network(seed, classes=10)
        labels = model(photos).argmax(1)
        attack = reference.AutoAttack(model, eps=0.01, version="custom", attacks=[name], seed=0)
        attack.verbose = False
        part = attack.fab if name == "fab-t" else attack.apgd_targeted
        part.n_iter, part.n_target_classes = 10, 9
        theirs, _ = attack.run_standard_evaluation(photos, labels)
        found = ours(model, photos, labels, eps=0.01, steps=10, generator=seeded())
        left.append([hits(model, x, labels).sum() for x in (found, theirs)])
    own, other = np.array(left).sum(0)
    assert 3 < other < 21
    assert abs(own - other) <= 2


# --- the whole -------------------------------------------------------------------------------


def test_versions():
    names = [type(part).info.name for part in AutoAttack().parts(10)]
    assert names == ["apgd-ce", "apgd-t", "fab-t", "square"]
    names = [type(part).info.name for part in AutoAttack(version="rand").parts(10)]
    assert names == ["apgd-ce", "apgd-dlr"]
    for classes, expected in ((3, "apgd-dlr"), (2, "fab-t")):
        names = [type(part).info.name for part in AutoAttack().parts(classes)]
        assert names[1] == expected
    assert all(getattr(part, "restarts", 1) == 1 for part in AutoAttack().parts(10))
    assert AutoAttack().parts(10)[-1].steps == 5000
    with pytest.raises(InputError, match="version is 'plus'; expected standard or rand"):
        AutoAttack(version="plus")


def test_each_part_attacks_what_is_left(photos):
    model = network()
    labels = model(photos).argmax(1)
    wrong = labels.clone()
    wrong[0] = (labels[0] + 1) % 6
    steps = []
    found = autoattack(
        model, photos, wrong, eps=0.02, generator=seeded(),
        callback=lambda step, values: steps.append((step, values.shape)), **SHORT,
    )  # fmt: skip
    assert torch.equal(found[0], photos[0])
    assert [step for step, _ in steps] == list(range(1, len(steps) + 1))
    assert {shape for _, shape in steps} == {(6,)}
    kept = hits(model, found, wrong)
    assert torch.equal(found[kept], photos[kept])
    assert 0 < kept.sum() < 6
    first = apgd_t(model, photos, wrong, eps=0.02, steps=10, generator=seeded())
    assert kept.sum() <= hits(model, first, wrong).sum()


def test_batches_change_nothing(photos):
    model = network()
    labels = model(photos).argmax(1)

    def perturb(images, classes, generators):
        return autoattack(model, images, classes, eps=0.02, generator=generators, **SHORT)

    photos, labels = photos[:3], labels[:3]
    attack = AttackRunner(perturb, model, group=2, seed=3)
    expected = attack(photos, labels)
    found = [attack(photos[k : k + 1], labels[k : k + 1]) for k in range(3)]
    assert torch.equal(torch.cat(found), expected)


@pytest.mark.parametrize(("attack", "eps"), [(apgd_t, 1e-3), (fab_t, 0.05)])
def test_one_generator_gives_images_the_same_together_and_one_by_one(attack, eps, photos):
    model, images = network(), photos[:3]
    labels = model(images).argmax(1)
    options = {"eps": eps, "norm": "l2", "steps": 3, "restarts": 3}
    together = attack(model, images, labels, generator=seeded(), **options)
    one = seeded()
    pairs = zip(torch.split(images, 1), torch.split(labels, 1), strict=True)
    apart = [attack(model, *pair, generator=one, **options) for pair in pairs]
    torch.testing.assert_close(torch.cat(apart), together, rtol=0, atol=1e-6)


class Random(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) + 0.1 * torch.randn(len(x), 1)


class Dynamic(nn.Module):
    """Moves the image before it answers, as defenses that optimize at test time do."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            (step,) = torch.autograd.grad(self.model(point).sum(), point)
        return self.model(x - 0.01 * step)


class Saturated(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return (1e6 * self.model(x)).clamp(-1, 1)


class Steps(nn.Module):
    """A defense whose gradient is zero everywhere; scores still tell the way."""

    def __init__(self):
        super().__init__()
        self.model = network()

    def forward(self, x):
        return self.model((x * 64).round() / 64)  # rounding has a gradient of zeros


@pytest.mark.parametrize(
    ("wrap", "version", "text"),
    [
        (Random, "standard", "answers differently each time, and the version is standard"),
        (nn.Sequential, "rand", "answers the same each time, and the version is rand"),
        (Dynamic, "standard", "computes gradients while it answers"),
        (lambda m: nn.Sequential(m, nn.Softmax(1)), "standard", "look like probabilities"),
        (Saturated, "standard", "was zero everywhere"),
    ],
)
def test_what_makes_the_number_too_good_is_told(wrap, version, text, photos):
    model = wrap(network())
    labels = network()(photos).argmax(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        autoattack(model, photos, labels, eps=1e-3, version=version, steps=2, queries=2)
    told = [str(one.message) for one in caught]
    assert any(text in one for one in told), told
    assert all(one.category is GradientWarning for one in caught)


def test_a_usual_model_is_told_nothing_of(photos):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        autoattack(network(), photos, eps=1e-3, steps=2, queries=2)
        autoattack(EOT(Random(network()), 3), photos, eps=1e-3, steps=2, version="rand")


def test_draws_of_a_defense_that_draws_once_a_batch_differ(photos):
    asked, inner = [], network()

    def model(x):
        asked.append(len(x))
        return inner(x + 0.1 * torch.randn(1, *x.shape[1:]))

    autoattack(model, photos[:1], eps=1e-3, steps=1, version="rand")
    assert set(asked) == {1}


def test_images_that_only_square_misleads_are_told(photos):
    model = Steps()
    labels = model(photos).argmax(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = autoattack(model, photos[:3], labels[:3], eps=0.3, steps=1, queries=60)
    assert any("square, which sees scores only, misled" in str(one.message) for one in caught)
    assert not hits(model, found, labels[:3]).all()


def test_few_classes(photos):
    model = network(classes=3)
    with pytest.warns(GradientWarning, match="has 3 classes, and the targeted ratio needs 4"):
        found = autoattack(model, photos, eps=0.3, **SHORT)
    assert not hits(model, found, model(photos).argmax(1)).any()


def test_an_l2_budget(photos):
    model = network()
    found = autoattack(model, photos, eps=2.0, norm="l2", **SHORT)
    assert ((found - photos).flatten(1).norm(dim=1) <= 2.0 + 1e-5).all()
    assert not hits(model, found, model(photos).argmax(1)).any()


def test_runners_pass_the_texts_on_once(photos):
    model = nn.Sequential(network(), nn.Softmax(1))
    spec = AttackSpec("autoattack", eps=1e-3, settings={"steps": 1, "queries": 1})
    with log_gradients() as log:
        spec.runner(model, group=2)(photos, model(photos).argmax(1))
    assert sum("probabilities" in text for text in log.notes()) == 1
    assert len(log.images) == 6


# --- the reference ---------------------------------------------------------------------------


def trained(classes=10, side=8):
    """A network trained on noisy prototypes, and 100 new images that it all but knows."""
    generator = seeded()
    prototypes = torch.rand(classes, 3, side, side, generator=generator)

    def draw(count):
        labels = torch.randint(classes, (count,), generator=generator)
        noise = 0.12 * torch.randn(count, 3, side, side, generator=generator)
        return (0.5 + 0.35 * (prototypes[labels] - 0.5) + noise).clamp(0, 1), labels

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, classes)
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    images, labels = draw(1000)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval(), *draw(100)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 10 / 255), ("linf", 12 / 255), ("l2", 0.45), ("l2", 0.5)]
)
def test_robust_accuracy_is_that_of_the_reference(norm, eps, monkeypatch):
    """With all published settings, on 100 images, up to one image."""
    reference = pytest.importorskip("pyautoattack.autoattack")
    model, images, labels = trained()
    # together, which is faster and costs the last bits only
    monkeypatch.setattr(forward_module, "groups", lambda inputs: [list(range(len(inputs)))])
    kind = {"linf": "Linf", "l2": "L2"}[norm]
    attack = reference.AutoAttack(model, norm=kind, eps=eps, version="standard", seed=0)
    attack.verbose = False
    theirs, _ = attack.run_standard_evaluation(images, labels)
    ours = autoattack(model, images, labels, eps=eps, norm=norm, generator=seeded())
    kept = [int(hits(model, x, labels).sum()) for x in (ours, theirs)]
    assert 10 < kept[1] < 90
    assert abs(kept[0] - kept[1]) <= 1
