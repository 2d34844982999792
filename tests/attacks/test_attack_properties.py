"""What holds for every attack on classifiers, and for noise."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nrpurify.attacks import get, names
from nrpurify.attacks.runner import AttackRunner

STOPPING = ["apgd-t", "fab-t", "autoattack", "deepfool", "ddn", "fmn", "cw", "hopskipjump"]
"""Which leave an image as soon as it is misclassified; test_attack_stopping.py has them."""
NAMES = [name for name in names() if get(name).surrogate != "features" and name not in STOPPING]
GRADIENT = [name for name in NAMES if get(name).surrogate == "classifier"]
RANDOM = [
    *("noise", "r-fgsm", "pgd", "dim", "dim-ti", "fsa", "apgd-ce", "apgd-dlr", "square"),
    *("vmi-fgsm", "vni-fgsm", "gra", "pgn", "admix", "ssa", "sia", "bsr", "ghost", "logit"),
    *("fia", "simba", "nes"),
]
MORE_RANDOM = {
    **{name: {"steps": 6} for name in ("dim", "dim-ti", "logit")},
    "gra": {"steps": 6, "radius": 15.0},
}
"""Settings at which draws change the signs of a smooth network's gradients."""
RESIDUAL = ["sgm", "ghost"]
"""Those that need residual blocks: they get the network behind one."""
COUPLED = ["fsa"]
"""Where an image's result depends on the others in its batch."""
OTHER_LOSS = ["apgd-dlr", "square", "fia", "naa", "ila", "simba"]
STEPS = {"square": 40, "simba": 10}
DIFFERENCES = ["nes", "simba"]
"""Which go by small differences of scores, which bf16 does not have."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run(name, model, images, labels=None, **options):
    """Attack with two steps, or a few queries, where the number is free, and to the end."""
    entry = get(name)
    model = nn.Sequential(BLOCK, model) if name in RESIDUAL else model
    few = {"samples": 4 if name == "nes" else 3, "copies": 3}
    for setting, value in {
        **{"steps": STEPS.get(name, 2), "restarts": 1, "early_stop": False},
        **few,
    }.items():
        if setting in entry.settings:
            options.setdefault(setting, value)
    return entry.function(None if entry.surrogate == "none" else model, images, labels, **options)


class Block(nn.Module):
    """Adds a little to its input; the branch is deterministic."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.shortcut, self.conv = nn.Identity(), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.shortcut(x) + 0.1 * self.conv(x)


def smooth_network():
    torch.manual_seed(9)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 5, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


NETWORK, BLOCK = smooth_network(), Block()


@pytest.mark.parametrize("name", NAMES)
@given(
    eps=st.lists(st.floats(1 / 255, 1), min_size=2, max_size=2),
    seed=st.integers(0, 2**32),
    height=st.integers(3, 12),
    width=st.integers(3, 12),
)
@settings(deadline=None, max_examples=10)
def test_budget_range_determinism_and_batch(name, eps, seed, height, width):
    images = torch.rand(2, 3, height, width, generator=seeded(seed))
    labels = torch.randint(5, (2,), generator=seeded(seed))
    budget, before = torch.tensor(eps), images.clone()
    found = run(name, NETWORK, images, labels, eps=budget, generator=seeded(seed))
    assert torch.equal(images, before)
    assert found.shape == images.shape
    assert ((found - images).abs().amax((1, 2, 3)) <= budget + 1e-6).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(
        run(name, NETWORK, images, labels, eps=budget, generator=seeded(seed)), found
    )
    if name in COUPLED:
        return

    def perturb(part, known, generators):
        return run(name, NETWORK, part, known, eps=eps[0], generator=generators)

    attack = AttackRunner(perturb, NETWORK, group=2, seed=seed)
    together = attack(images, labels)
    apart = [attack(images[k : k + 1], labels[k : k + 1]) for k in range(2)]
    assert torch.equal(torch.cat(apart), together)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_all_float_types_stay_in_the_budget(name, dtype, classifier, images, labels):
    images = images.to(dtype)
    found = run(name, classifier, images, labels, eps=3 / 255)
    assert found.dtype == dtype
    change = (found.double() - images.double()).abs().max()
    assert 2 / 255 < change <= 3 / 255 + 1e-7
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_model_is_asked_in_its_own_precision(dtype, classifier, images, labels):
    found = run("i-fgsm", classifier.to(dtype), images, labels)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("name", GRADIENT)
def test_the_model_is_given_back_as_it_was(name, classifier, images, labels):
    def flags():
        return [m.training for m in classifier.modules()], [
            (p.requires_grad, p.grad) for p in classifier.parameters()
        ]

    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    before = flags()
    images.requires_grad_(True)
    found = run(name, classifier, images, labels)
    assert flags() == before
    assert all(torch.equal(value, state[key]) for key, value in classifier.state_dict().items())
    assert not found.requires_grad
    assert images.requires_grad
    assert images.grad is None


@pytest.mark.parametrize("name", [n for n in GRADIENT if get(n).labels and n not in OTHER_LOSS])
def test_the_loss_grows(name, images, labels):
    def loss(x):
        return nn.functional.cross_entropy(NETWORK(x), labels, reduction="none")

    assert (loss(run(name, NETWORK, images, labels, generator=seeded())) > loss(images)).all()


@pytest.mark.parametrize("name", GRADIENT)
def test_without_labels_the_model_s_own_answer_is_left(name, classifier, images):
    answer = classifier.eval()(images).argmax(1)
    found = run(name, classifier, images, generator=seeded())
    assert torch.equal(run(name, classifier, images, answer, generator=seeded()), found)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_matter_where_something_is_random(name, images, labels):
    first, second = (
        run(name, NETWORK, images, labels, generator=seeded(seed), **(
            MORE_RANDOM.get(name, {})
        ))
        for seed in (0, 1)
    )  # fmt: skip
    assert torch.equal(first, second) == (name not in RANDOM)


@pytest.mark.parametrize("name", sorted(set(GRADIENT) - set(RANDOM)))
def test_attacks_that_are_not_random_leave_torch_s_generator_alone(name, images, labels):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    run(name, NETWORK, images, labels)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("name", GRADIENT)
def test_callbacks_see_each_step(name, images, labels):
    seen = []
    run(name, NETWORK, images, labels, callback=lambda step, values: seen.append((step, values)))
    steps = STEPS.get(name, 2) if "steps" in get(name).settings else 1
    assert [step for step, _ in seen] == list(range(1, steps + 1))
    assert all(values.shape == (3,) for _, values in seen)


@pytest.mark.parametrize("name", [name for name in GRADIENT if name not in DIFFERENCES])
def test_bf16_arithmetic_is_nearly_the_same(name, images, labels):
    exact, rough = (
        run(name, NETWORK, images, labels, generator=seeded(), amp=amp) for amp in (False, True)
    )
    assert ((exact - rough).abs() < 1 / 255).float().mean() > 0.8


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(COUPLED)))
def test_one_generator_an_image(name, images, labels):
    together = run(name, NETWORK, images, labels, generator=[seeded(k) for k in range(3)])
    order = [2, 0, 1]
    moved = run(name, NETWORK, images[order], labels[order], generator=[seeded(k) for k in order])
    same = (together[order] - moved).abs() < 1e-6
    assert same.float().mean() > (0.9 if name in COUPLED else 0.999)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no second device here")
@pytest.mark.parametrize("name", NAMES)
def test_other_devices(name, images, labels):
    found = run(name, smooth_network().cuda(), images.cuda(), labels)
    assert found.device.type == "cuda"


@pytest.mark.parametrize("name", NAMES)
def test_all_are_called_alike(name):
    parameters = list(inspect.signature(get(name).function).parameters.values())
    assert [p.name for p in parameters[:3]] == ["model", "images", "labels"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[3:])
    named = {p.name for p in parameters}
    assert {"eps", "norm", "preset", "generator", "amp", "callback", *get(name).settings} <= named
    assert ("targets" in named) == get(name).info.targeted
