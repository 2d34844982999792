"""What the base does for every attack: the frames of a step, checks of results, ℓ2, lazy names."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import nrpurify
from nrpurify import attacks
from nrpurify.attacks import Attack, get, names
from nrpurify.attacks.constraints import L2Ball, ball_around
from nrpurify.attacks.registry import ATTACKS, register_attack
from nrpurify.core.errors import AttackError, InputError, PluginError
from nrpurify.models.features import FeatureExtractor

ROOT = str(Path(nrpurify.__file__).parent)
PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"
FREE = ("apgd-t", "fab-t", "autoattack", "deepfool", "ddn", "fmn", "cw", "hopskipjump", "square")
"""Which may leave an image as it is: it is misclassified, or no query of a few was a gain."""
RESIDUAL = ("sgm", "ghost")
"""Which need residual blocks."""
L2 = [name for name in names() if "l2" in get(name).info.norms and name not in FREE + RESIDUAL]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- few stations ----------------------------------------------------------------------------


def package_frames():
    frame, found = sys._getframe(1), []
    while frame is not None:
        if frame.f_code.co_filename.startswith(ROOT):
            found.append(Path(frame.f_code.co_filename).name)
        frame = frame.f_back
    return found


def test_a_step_of_pgd_passes_few_frames_in_few_files(monkeypatch, classifier, images, labels):
    grad, seen = torch.autograd.grad, []

    def watched(*args, **kwargs):
        seen.append(package_frames())
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    attacks.pgd(classifier, images, labels, steps=1)
    assert len(seen[0]) <= 6, seen[0]
    assert len(set(seen[0])) <= 3, seen[0]


def test_the_package_of_attacks_imports_nothing_and_knows_all_names():
    code = (
        "import sys, nrpurify.attacks as a; names = a.names(); assert 'pgd' in names, names; "
        "assert 'torch' not in sys.modules; import nrpurify.attacks.fgsm; assert callable(a.fgsm)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", attacks.__all__)
def test_every_public_name_is_there(name):
    assert getattr(attacks, name) is not None
    assert name in dir(attacks)


def test_old_names_warn():
    with pytest.warns(DeprecationWarning, match="SelfSupervisedPerturbation"):
        assert attacks.SspSettings is attacks.SelfSupervisedPerturbation
    with pytest.warns(DeprecationWarning, match="presets"):
        assert set(attacks.PRESETS) == {"paper", "authors"}
    with pytest.warns(DeprecationWarning, match="eot_samples"):
        assert attacks.EOT(nn.Identity(), draws=3).eot_samples == 3
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        attacks.x  # noqa: B018


def test_functions_show_their_settings():
    parameters = inspect.signature(attacks.mi_fgsm).parameters
    assert list(parameters) == [
        *("model", "images", "labels", "eps", "norm", "preset", "steps", "step_size", "momentum"),
        *("targets", "generator", "amp", "callback"),
    ]
    assert "Decay of the accumulated gradients" in attacks.mi_fgsm.__doc__


def test_specs_and_unknown_settings():
    made = attacks.create("pgd:steps=40,step_size=2/255", start="clean")
    assert (made.steps, made.step_size, made.start) == (40, 2 / 255, "clean")
    assert attacks.create("r-fgsm:preset=authors").start_share == 1 / 6
    with pytest.raises(InputError, match="pgd has no setting 'stepz'; did you mean steps"):
        attacks.create("pgd", stepz=4)
    with pytest.raises(InputError, match="takes none, leave them out"):
        attacks.tap(None, torch.rand(1, 3, 8, 8), targets=torch.tensor([0]))


# --- own attacks -----------------------------------------------------------------------------


@pytest.fixture
def registered():
    before = dict(ATTACKS._entries)
    yield register_attack
    ATTACKS._entries.clear()
    ATTACKS._entries.update(before)


def test_the_attack_of_the_page_works(registered, tmp_path, classifier, images, labels):
    (code,) = re.findall(r"```python\n(# my_attack\.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "my_attack.py").write_text(code)
    source = compile(code, str(tmp_path / "my_attack.py"), "exec")
    exec(source, {"__name__": "my_attack"})
    assert "spsa" in names()
    assert list(get("spsa").settings) == ["steps", "samples", "step_size"]
    attack = attacks.create("spsa:steps=5")
    for norm, eps in (("linf", 8 / 255), ("l2", 0.5)):
        found = attack(classifier, images, labels, eps=eps, norm=norm, generator=seeded())
        assert not torch.equal(found, images)
        assert torch.equal(
            attack(classifier, images, labels, eps=eps, norm=norm, generator=seeded()), found
        )
        assert (ball_around(images, eps, norm).size(found - images) <= eps + 1e-5).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.clean + 0.5, r"attack odd returned values from .* expected \[0, 1\]"),
        (lambda p: (p.clean + 0.2).clamp(0, 1), r"odd changed image 0 by 0\.2 .* at most eps 0.1"),
        (lambda p: p.clean * float("nan"), "odd returned NaN or infinite values"),
        (lambda p: p.clean[:, :, 1:], r"odd made \(3, 3, 12, 10\) into \(3, 3, 11, 10\)"),
        (lambda p: None, "odd made .* into NoneType"),
    ],
)
def test_results_that_cannot_be_are_refused(spoil, message, registered, images):
    @registered("odd", needs="none")
    class Odd(Attack):
        def perturb(self, problem):
            return spoil(problem)

    with pytest.raises(AttackError, match=message):
        get("odd").create()(None, images, eps=0.1)


def test_errors_of_a_plug_in_name_it(registered, images):
    @registered("broken", needs="none")
    class Broken(Attack):
        def perturb(self, problem):
            raise KeyError("x")

    with pytest.raises(PluginError, match=r"broken of the plug-in .*test_attack_base failed"):
        Broken()(None, images)


def test_a_name_that_is_taken():
    with pytest.raises(InputError, match=r"'pgd' of .* has the name of one of nrpurify"):

        @register_attack("pgd")
        class Mine(Attack):
            pass


# --- the second norm -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", L2)
def test_every_attack_keeps_an_l2_budget(name, dtype, classifier, images, labels):
    model = {
        "classifier": classifier,
        "features": FeatureExtractor(classifier, "3"),
        "none": None,
    }[get(name).surrogate]
    short = {"steps": 3, "restarts": 1, "early_stop": False}
    own = {key: value for key, value in short.items() if key in get(name).settings}
    eps, given = torch.tensor([0.3, 1.0, 3.0]), images.to(dtype)
    found = get(name).function(model, given, labels, eps=eps, norm="l2", generator=seeded(), **own)
    change = (found.double() - given.double()).flatten(1).norm(dim=1)
    assert (change <= eps * (1 + 1e-5)).all()
    assert (change > 0.1 * eps).all()
    assert found.dtype == dtype
    assert found.min() >= 0
    assert found.max() <= 1


def test_l2_steps_follow_the_gradient(images):
    """On a linear loss the optimum inside the ball is the normalized gradient."""
    weight = torch.randn(3 * 12 * 10, 2, generator=seeded()) / 10
    images = 0.4 + 0.2 * images
    model = lambda x: x.flatten(1) @ weight  # noqa: E731
    labels = torch.zeros(3, dtype=torch.int64)
    attack = attacks.PGD(steps=40, step_size=0.5)
    found = attack(model, images, labels, eps=0.5, norm="l2", generator=seeded())
    best = weight[:, 1] - weight[:, 0]
    expected = images + 0.5 * (best / best.norm()).view(1, 3, 12, 10)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_projection_onto_the_l2_ball():
    clean = torch.full((1, 3, 1, 1), 0.5)
    ball = L2Ball.around(clean, 0.3)
    assert torch.equal(ball.project(clean + 0.1), clean + 0.1)
    moved = ball.project(clean + 0.4)
    torch.testing.assert_close(ball.size(moved - clean), torch.tensor([0.3]))
    assert torch.equal(ball.direction(torch.zeros_like(clean)), torch.zeros_like(clean))
    tiny = ball.direction(torch.full_like(clean, 1e-25))
    torch.testing.assert_close(ball.size(tiny), torch.ones(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l1"}, "norm is 'l1'; expected one of linf, l2"),
        ({"norm": "l2", "eps": 0.0}, "eps is 0; expected an ℓ2 length above 0"),
        ({"norm": "l2", "eps": float("inf")}, "eps is inf"),
    ],
)
def test_norms_that_cannot_be(options, message, images):
    with pytest.raises(InputError, match=message):
        attacks.noise(None, images, **options)
    with pytest.raises(InputError, match="norm is 'linf'; ddn supports l2"):
        attacks.ddn(None, images)


class Viewing(nn.Module):
    """A convolution and a line, with the view of many tutorials between them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.line, self.seen = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 64, 5), []

    def forward(self, images):
        self.seen.append(images.is_contiguous())
        return self.line(self.conv(images).view(len(images), -1))


def test_a_model_that_takes_views_gets_contiguous_images():
    model, images = Viewing(), torch.rand(2, 3, 8, 8)
    found = attacks.pgd(model, images, torch.tensor([0, 1]), steps=3)
    assert found.is_contiguous()
    assert model.seen == [False, True, True, True]  # asked again once an attack
    flat = nn.Sequential(model.conv, nn.Flatten(), model.line)
    generator = torch.Generator()
    one, two = (
        attacks.mi_fgsm(network, images, torch.tensor([0, 1]), generator=generator.manual_seed(1))
        for network in (model, flat)
    )
    torch.testing.assert_close(one, two, atol=1e-3, rtol=0)


def test_a_model_that_takes_views_can_be_attacked_inside_a_frozen_one():
    model, images = Viewing(), torch.rand(2, 3, 8, 8)
    weight = model.conv.weight.data_ptr()
    with attacks.frozen(model):
        for members in ((model,), (model, model)):
            attacks.i_fgsm(attacks.Ensemble(*members), images, torch.tensor([0, 1]), steps=2)
        attacks.i_fgsm(model, images, torch.tensor([0, 1]), steps=2)
    assert model.conv.weight.data_ptr() == weight


def test_other_errors_of_a_model_are_raised_at_once():
    class Broken(Viewing):
        def forward(self, images):
            self.seen.append(images.is_contiguous())
            raise RuntimeError("broken")

    model = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        attacks.fgsm(model, torch.rand(1, 3, 8, 8), torch.tensor([0]))
    assert len(model.seen) == 1
