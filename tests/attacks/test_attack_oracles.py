"""The same attacks in other packages: the same images to 1e-5, or the reason why not.

Where nothing else is said the packages' global random numbers are avoided by starts and
transformations that are not random.
"""

import warnings

import pytest
import torch
from torch import nn

from nrpurify.attacks import EOT, dim, fgsm, fgsm_ti, i_fgsm, mi_fgsm, mi_fgsm_ti, pgd, r_fgsm
from nrpurify.attacks.gradient_attack import GROWTH
from nrpurify.attacks.starts import per_image, start_each
from nrpurify.attacks.transforms import diverse_input, gaussian_kernel

EPS, STEP = 8 / 255, 2 / 255
LABELS = torch.tensor([1, 0, 4])
TARGETS = torch.tensor([3, 2, 0])


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def same(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected).detach(), rtol=0, atol=1e-5)


class Torchattacks:
    """torchattacks 3.5.1."""

    def __init__(self, model):
        self.package = pytest.importorskip("torchattacks")
        self.model = model

    def fgsm(self, images):
        return self.package.FGSM(self.model, eps=EPS)(images, LABELS)

    def i_fgsm(self, images):
        return self.package.BIM(self.model, eps=EPS, alpha=STEP, steps=7)(images, LABELS)

    def pgd(self, images, targets=None):
        attack = self.package.PGD(self.model, EPS, STEP, 7, random_start=False)
        if targets is None:
            return attack(images, LABELS)
        attack.set_mode_targeted_by_label(quiet=True)
        return attack(images, targets)

    def mi_fgsm(self, images):
        return self.package.MIFGSM(self.model, EPS, STEP, 7, decay=1.0)(images, LABELS)


class Torchattack:
    """torchattack 1.7.2."""

    def __init__(self, model):
        self.package = pytest.importorskip("torchattack")
        self.options = {"model": model, "device": torch.device("cpu"), "eps": EPS}

    def fgsm(self, images):
        return self.package.FGSM(**self.options)(images, LABELS)

    def i_fgsm(self, images):
        return self.package.IFGSM(**self.options, alpha=STEP, steps=7)(images, LABELS)

    def pgd(self, images, targets=None):
        attack = self.package.PGD(
            **self.options, alpha=STEP, steps=7, random_start=False, targeted=targets is not None
        )
        return attack(images, LABELS if targets is None else targets)

    def mi_fgsm(self, images):
        return self.package.MIFGSM(**self.options, alpha=STEP, steps=7)(images, LABELS)


class Foolbox:
    """foolbox 3.3.4."""

    def __init__(self, model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.package = pytest.importorskip("foolbox")
        self.model = self.package.PyTorchModel(model, bounds=(0, 1), device="cpu")
        self.options = {"abs_stepsize": STEP, "steps": 7, "random_start": False}

    def _run(self, attack, images, criterion=LABELS):
        return attack(self.model, images, criterion, epsilons=EPS)[1]

    def fgsm(self, images):
        return self._run(self.package.attacks.LinfFastGradientAttack(), images)

    def i_fgsm(self, images):
        return self._run(self.package.attacks.LinfBasicIterativeAttack(**self.options), images)

    def pgd(self, images, targets=None):
        attack = self.package.attacks.LinfProjectedGradientDescentAttack(**self.options)
        if targets is None:
            return self._run(attack, images)
        return self._run(attack, images, self.package.criteria.TargetedMisclassification(targets))


class Art:
    """adversarial-robustness-toolbox 1.20.1."""

    def __init__(self, model):
        self.package = pytest.importorskip("art.attacks.evasion")
        from art.estimators.classification import PyTorchClassifier

        self.model = PyTorchClassifier(
            model,
            loss=nn.CrossEntropyLoss(),
            input_shape=(3, 16, 16),
            nb_classes=5,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        self.options = {"eps": EPS, "eps_step": STEP, "max_iter": 7, "verbose": False}

    def fgsm(self, images):
        attack = self.package.FastGradientMethod(self.model, eps=EPS)
        return attack.generate(images.numpy(), LABELS.numpy())

    def i_fgsm(self, images):
        attack = self.package.BasicIterativeMethod(self.model, **self.options)
        return attack.generate(images.numpy(), LABELS.numpy())

    def pgd(self, images, targets=None):
        attack = self.package.ProjectedGradientDescentPyTorch(
            self.model, targeted=targets is not None, **self.options
        )
        return attack.generate(images.numpy(), (LABELS if targets is None else targets).numpy())

    def mi_fgsm(self, images):
        attack = self.package.MomentumIterativeMethod(self.model, decay=1.0, **self.options)
        return attack.generate(images.numpy(), LABELS.numpy())


@pytest.fixture(params=[Torchattacks, Torchattack, Foolbox, Art], ids=lambda kind: kind.__name__)
def oracle(request, model):
    return request.param(model)


SETTINGS = {"eps": EPS, "steps": 7, "step_size": STEP}


def test_fgsm(oracle, model, images):
    same(fgsm(model, images, LABELS, eps=EPS), oracle.fgsm(images))


def test_i_fgsm(oracle, model, images):
    same(i_fgsm(model, images, LABELS, **SETTINGS), oracle.i_fgsm(images))


def test_pgd_from_the_image(oracle, model, images):
    same(pgd(model, images, LABELS, start="clean", **SETTINGS), oracle.pgd(images))


def test_pgd_targeted(oracle, model, images):
    found = pgd(model, images, targets=TARGETS, start="clean", **SETTINGS)
    same(found, oracle.pgd(images, TARGETS))


@pytest.mark.parametrize("kind", [Torchattacks, Torchattack, Art])
def test_mi_fgsm(kind, model, images):
    same(mi_fgsm(model, images, LABELS, **SETTINGS), kind(model).mi_fgsm(images))


def test_foolbox_accumulates_signs(model, images):
    """Its L∞ MI-FGSM takes the sign before the momentum, not only after: one step agrees."""
    oracle = Foolbox(model)
    kind = oracle.package.attacks.LinfMomentumIterativeFastGradientMethod
    options = {"momentum": 1.0, "abs_stepsize": STEP, "random_start": False}
    one = oracle._run(kind(steps=1, **options), images)
    same(mi_fgsm(model, images, LABELS, eps=EPS, steps=1, step_size=STEP), one)
    seven = oracle._run(kind(steps=7, **options), images)
    assert not torch.allclose(mi_fgsm(model, images, LABELS, **SETTINGS), seven, atol=1e-5)


def test_pgd_and_r_fgsm_from_torchattacks_random_numbers(model, images, monkeypatch):
    """Their noise comes from torch's global generator for the whole batch: ours is handed over.

    Their R-FGSM makes all steps equally long, which is ours for a random step of half eps.
    """
    torchattacks = pytest.importorskip("torchattacks")

    def draw(name):
        generators = per_image(torch.Generator().manual_seed(5), 3)
        return start_each(name, images, EPS, generators) - images

    signs, uniform = draw("sign"), draw("uniform")
    monkeypatch.setattr(torch, "randn_like", lambda x: signs)
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda x, low, high: x.copy_(uniform))
    half = torchattacks.RFGSM(model, eps=EPS, alpha=EPS / 2, steps=1)(images, LABELS)
    expected = torchattacks.PGD(model, EPS, STEP, 7)(images, LABELS)
    monkeypatch.undo()
    generator = torch.Generator().manual_seed(5)
    same(r_fgsm(model, images, LABELS, eps=EPS, start_share=0.5, generator=generator), half)
    generator = torch.Generator().manual_seed(5)
    same(pgd(model, images, LABELS, generator=generator, **SETTINGS), expected)


def test_translation_invariant_versions(model, images):
    """Without their input diversity, which differs (see below)."""
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.TIFGSM(model, EPS, STEP, 7, decay=1.0, diversity_prob=0.0)
    same(mi_fgsm_ti(model, images, LABELS, **SETTINGS), attack(images, LABELS))
    attack = torchattacks.TIFGSM(model, EPS, EPS, 1, decay=0.0, diversity_prob=0.0)
    same(fgsm_ti(model, images, LABELS, eps=EPS), attack(images, LABELS))


def test_torchattack_has_another_translation_invariant_attack(model, images):
    """Its kernel is made of root differences of the normal distribution function, wider than the
    authors' density, and its momentum holds only the last gradient: what was accumulated is
    overwritten by the smoothed gradient before it is used.
    """
    torchattack = pytest.importorskip("torchattack")
    attack = torchattack.TIFGSM(
        model, device=torch.device("cpu"), eps=EPS, alpha=STEP, steps=7, decay=1.0
    )
    theirs = attack.get_kernel()[0, 0]
    assert theirs[7, 7] < 0.8 * gaussian_kernel()[7, 7]
    expected = attack(images, LABELS).detach()
    found = mi_fgsm_ti(model, images, LABELS, momentum=0.0, **SETTINGS)
    assert ((found - expected).abs() < 1e-5).float().mean() > 0.8
    assert not torch.allclose(found, expected, atol=1e-5)


def test_dim_without_diversity(model, images):
    """DIM is MI-FGSM on diverse inputs; their inputs differ from the paper's.

    torchattacks resizes bilinearly to between 0.9 s and s and pads to s; torchattack resizes
    (nearest) in the same range; both draw once a batch. The published code, and this package,
    enlarge (nearest) to between s and 1.1 s and leave it so.
    """
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.DIFGSM(model, EPS, STEP, 7, decay=1.0, diversity_prob=0.0)
    same(dim(model, images, LABELS, diversity=0.0, **SETTINGS), attack(images, LABELS))


def test_the_transformation_of_dim_is_that_of_torchattack_at_the_published_rate():
    module = pytest.importorskip("torchattack.difgsm")
    image = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0)) + 1
    torch.manual_seed(0)
    theirs = module.input_diversity(image, resize_rate=GROWTH, diversity_prob=1.0)
    side = int((theirs[0, 0] > 0).any(1).sum())

    def content(padded):
        rows, columns = (padded[0, 0] > 0).any(1), (padded[0, 0] > 0).any(0)
        return padded[:, :, rows][..., columns]

    for seed in range(500):
        generator = torch.Generator().manual_seed(seed)
        ours = diverse_input(image.shape, 1.0, generator, growth=GROWTH)(image)
        assert ours.shape == theirs.shape == (1, 3, 330, 330)
        if content(ours).shape[-1] == side:
            break
    assert torch.equal(content(ours), content(theirs))


def test_eot_of_a_random_model(images):
    """Both average the gradients of as many draws from one stream of random numbers."""
    torchattacks = pytest.importorskip("torchattacks")
    torch.manual_seed(2)
    linear = nn.Linear(3 * 16 * 16, 5)

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear
            self.generator = torch.Generator().manual_seed(7)

        def forward(self, x):
            noise = torch.randn(x.shape, generator=self.generator)
            return self.linear((x + 0.3 * noise).tanh().flatten(1))

    attack = torchattacks.EOTPGD(Noisy(), EPS, STEP, 7, eot_iter=5, random_start=False)
    expected = attack(images[:1], LABELS[:1])
    for batched in (True, False):
        model = EOT(Noisy(), 5, batched=batched)
        same(pgd(model, images[:1], LABELS[:1], start="clean", **SETTINGS), expected)
