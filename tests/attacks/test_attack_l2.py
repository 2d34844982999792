"""ℓ2 budgets: closed forms on linear models, other packages, 8-bit values."""

import pickle

import pytest
import torch
from torch import nn

from nrpurify.attacks import get, mi_fgsm, names, pgd
from nrpurify.attacks.apgd import APGDCE, APGDDLR
from nrpurify.attacks.constraints import round_within
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.restarts import Watch
from nrpurify.attacks.runner import AttackSpec
from nrpurify.attacks.step_size import StepSize
from nrpurify.core.errors import InputError
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.spec import parse_eps
from nrpurify.evaluation import check_budget

EPS, STEP = 0.5, 0.2
LABELS = torch.tensor([1, 0, 4])
ATTACKS = {
    "pgd": {"steps": 40, "step_size": 0.1},
    "mi-fgsm": {"steps": 20},
    "apgd-ce": {"steps": 30, "restarts": 1, "early_stop": False},
    "apgd-dlr": {"steps": 30, "restarts": 1, "early_stop": False},
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, generator=seeded(1))


def same(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected).detach(), rtol=0, atol=1e-5)


class Linear(nn.Module):
    """Two classes that compete, and two that are hopeless, so that the ratio has enough."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3 * 16 * 16, generator=seeded(5)) / 10)

    def forward(self, images):
        two = images.flatten(1) @ self.weight.T
        return torch.cat([two, two.new_full((len(two), 2), -1000.0)], 1)

    def lead(self, images, labels):
        """The other class's logit minus the label's, which the attacks are to raise."""
        answers = self(images).detach()[:, :2]
        return (answers[:, 1] - answers[:, 0]) * (1 - 2 * labels)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_optimum_on_a_linear_model_is_the_normalized_weight(name, targeted, images):
    model, photos = Linear(), 0.4 + 0.2 * images  # the ball keeps away from 0 and 1
    labels = torch.tensor([0, 1, 0])
    goal = {"labels": labels, "targets": 1 - labels} if targeted else {"labels": labels}
    found = get(name).function(
        model, photos, eps=EPS, norm="l2", generator=seeded(), **goal, **ATTACKS[name]
    )
    away = (model.weight[1] - model.weight[0]).detach().view(1, 3, 16, 16)
    expected = photos + EPS * away / away.norm() * (1 - 2 * labels).view(-1, 1, 1, 1)
    optimal, before = (model.lead(x, labels) for x in (expected, photos))
    assert (model.lead(found, labels) - before >= 0.995 * (optimal - before)).all()
    assert ((found - photos).flatten(1).norm(dim=1) <= EPS * (1 + 1e-5)).all()


def test_pgd_is_that_of_torchattacks(model, images):
    package = pytest.importorskip("torchattacks")
    attack = package.PGDL2(model, eps=EPS, alpha=STEP, steps=7, random_start=False)
    options = {"eps": EPS, "norm": "l2", "steps": 7, "step_size": STEP, "start": "clean"}
    same(pgd(model, images, LABELS, **options), attack(images, LABELS))


def test_mi_fgsm_follows_its_formula(model, images):
    """g ← μ·g + ∇/mean|∇|; x ← projection of x + α·g/‖g‖."""
    x, velocity = images.clone(), torch.zeros_like(images)
    for _ in range(4):
        x.requires_grad_(True)
        loss = nn.functional.cross_entropy(model(x), LABELS, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        velocity = 0.7 * velocity + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
        length = velocity.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        change = x.detach() + STEP * velocity / length - images
        shrink = (EPS / change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(max=1)
        x = (images + shrink * change).clamp(0, 1)
    options = {"eps": EPS, "norm": "l2", "steps": 4, "step_size": STEP, "momentum": 0.7}
    same(mi_fgsm(model, images, LABELS, **options), x)


@pytest.mark.parametrize(("name", "kind"), [("ce", APGDCE), ("dlr", APGDDLR)])
def test_auto_pgd_is_that_of_torchattacks(name, kind, model, images):
    """From the same start, 100 steps, at which both have the same checkpoints."""
    package = pytest.importorskip("torchattacks")
    labels = model(images).argmax(1)
    oracle = package.APGD(model, norm="L2", eps=EPS, steps=100, loss=name)
    torch.manual_seed(0)
    best, _, value, _ = oracle.attack_single_run(images, labels)
    torch.manual_seed(0)
    noise = torch.randn(images.shape)
    start = images + EPS * noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    radii = torch.full((3, 1, 1, 1), EPS)
    problem = AttackProblem(model, images, radii, "l2", Criterion(labels))
    rows = torch.arange(3)
    attack = kind(steps=100, early_stop=False)
    watch = Watch(None, torch.zeros(3))
    found = attack.ascend(problem, problem, start.clamp(0, 1), rows, watch)
    torch.testing.assert_close(found.values, value.detach(), rtol=1e-3, atol=1e-5)
    assert ((found.images - best.detach()).abs() < 1e-3).float().mean() > 0.95


# --- 8 bits and commands ---------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.02, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("whole", [True, False])
def test_8_bits_keep_the_l2_budget(eps, whole):
    """Also around clean values that lie between two levels; most of the budget stays in use."""
    clean = torch.rand(3, 3, 32, 32, generator=seeded(2))
    clean = from_uint8(to_uint8(clean)) if whole else clean
    change = torch.randn(clean.shape, generator=seeded(3))
    change *= eps / change.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    attacked = (clean + change).clamp(0, 1)
    rounded = round_within(attacked, clean, eps, "l2")
    levels = 255 * rounded
    assert torch.equal(levels, levels.round())
    sizes = (rounded - from_uint8(to_uint8(clean))).flatten(1).norm(dim=1)
    assert (sizes <= eps * (1 + 1e-6)).all()
    if eps > 0.02:
        assert (sizes > 0.95 * (attacked - clean).flatten(1).norm(dim=1)).all()
    assert torch.equal(round_within(attacked[1], clean[1], eps, "l2"), rounded[1])


def test_the_budget_is_checked_in_its_norm():
    clean = torch.full((2, 3, 8, 8), 0.5)
    attacked = clean.clone()
    attacked[1, 0, 0, 0] = 0.9
    check_budget(clean, attacked, 0.4, "l2")
    with pytest.raises(AssertionError, match="left its box"):
        check_budget(clean, attacked, 0.3, "l2")
    check_budget(clean, clean + 0.1, 0.1 * 192**0.5, "l2")
    with pytest.raises(AssertionError):
        check_budget(clean, clean + 0.1, 0.09)


def test_l2_lengths_on_the_command_line():
    assert parse_eps("3.0", "", "l2") == 3.0
    for text in ("0", "-1", "inf", "nan"):
        with pytest.raises(InputError, match=r"expected an ℓ2 length above 0, such as 3\.0"):
            parse_eps(text, f"--eps is {text!r}", "l2")
    with pytest.raises(InputError, match="up to 1"):
        parse_eps("3.0", "")


def test_a_spec_has_a_norm():
    assert AttackSpec("pgd", eps=3.0, norm="l2").described()["step_size"] == 2.5 * 3.0 / 10
    with pytest.raises(InputError, match="norm is 'linf'; ddn supports l2"):
        AttackSpec("ddn").check()


class Unit(nn.Module):
    """A linear model: every step of an ℓ2 attack goes the same way."""

    def forward(self, images):
        two = images.flatten(1).mean(1, keepdim=True)
        return torch.cat([two, -two], 1)


WITH_A_STEP = [
    name
    for name in names()
    if issubclass(get(name).attack, StepSize) and "step_size" in get(name).settings
]


@pytest.mark.parametrize("preset", ["paper", "authors"])
@pytest.mark.parametrize("name", ["i-fgsm", "pgd", "dim", "mi-fgsm", "logit"])
def test_no_preset_takes_steps_of_linf_in_l2(name, preset):
    images = torch.full((1, 3, 8, 8), 0.5)
    attacked = get(name).function(
        Unit(), images, torch.tensor([0]), eps=1.0, norm="l2", preset=preset, generator=seeded()
    )
    assert float((attacked - images).flatten().norm()) > 0.9


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["pgd", "ssp"])
def test_a_start_of_random_signs_takes_no_length_from_the_steps(name, norm):
    make = get(name).attack.create
    assert make(start="sign").length(0.3, norm) == make(start="uniform").length(0.3, norm)


@pytest.mark.parametrize("name", WITH_A_STEP)
def test_equal_settings_take_equal_steps(name):
    attack = get(name).attack.create()
    copied = pickle.loads(pickle.dumps(attack))  # as a worker process gets it
    assert copied == attack
    assert copied.length(3.0, "l2") == attack.length(3.0, "l2") >= 3 / attack.steps
    given = type(attack).create(step_size=0.3)
    assert given.length(3.0, "l2") == given.length(3.0) == 0.3
