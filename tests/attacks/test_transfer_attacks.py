"""The parts of transfer attacks since 2019: views, blocks of surrogates, photographs."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from scipy.fft import dctn
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate

from nrpurify import attacks
from nrpurify.attacks.admix import photographs, random_crop
from nrpurify.attacks.bsr import rotated
from nrpurify.attacks.momentum import clipped
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.residual import decayed, residual_blocks, scaled_shortcuts
from nrpurify.attacks.runner import AttackSpec
from nrpurify.attacks.sia import CHANGES
from nrpurify.attacks.ssa import cosines
from nrpurify.core.errors import InputError
from nrpurify.models import load_classifier

NAMES = ("si-ni-fgsm", "admix", "ssa", "sia", "bsr")


def problem(images):
    radii = torch.full((len(images), 1, 1, 1), 16 / 255)
    return AttackProblem(None, images, radii, source=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 30)])
def test_views_keep_the_size_and_let_gradients_pass(name, size):
    image = torch.rand(1, 3, *size).requires_grad_(True)
    views = attacks.create(name).views(problem(image.detach()), 0)
    for view in views:
        found = view(image)
        assert found.shape == image.shape
    (gradient,) = torch.autograd.grad(sum(view(image).sum() for view in views), image)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "count"), [("si-ni-fgsm", 5), ("admix", 15), ("ssa", 20), ("sia", 20), ("bsr", 20)]
)
def test_number_of_views(name, count):
    images = torch.rand(1, 3, 8, 8)
    assert len(attacks.create(name).views(problem(images), 0)) == count


GRADIENTS = {
    **{"ni-fgsm": 1, "pi-fgsm": 1, "sgm": 1, "ghost": 1, "logit": 1, "si-ni-fgsm": 5},
    **{"admix": 15, "ssa": 20, "sia": 20, "bsr": 20, "vmi-fgsm": 21, "vni-fgsm": 21},
    **{"gra": 21, "pgn": 40},
}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.shortcut, self.conv = nn.Identity(), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.shortcut(x) + self.conv(x)


class Counting(nn.Module):
    """Counts the images whose gradient was asked for, and refuses values outside of [0, 1]."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            Block(), nn.Conv2d(3, 5, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.count = 0

    def forward(self, images):
        assert images.min() >= 0
        assert images.max() <= 1
        self.count += len(images) * images.requires_grad
        return self.network(images)


@pytest.mark.parametrize("name", GRADIENTS)
def test_what_an_attack_costs_and_that_it_shows_models_images_only(name, images, labels):
    """docs/attacks.md has these numbers."""
    model = Counting()
    attacks.create(name, steps=2)(model, images, labels, eps=16 / 255)
    assert model.count == len(images) * 2 * GRADIENTS[name]


def test_the_page_tells_what_each_costs():
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
    for name, count in GRADIENTS.items():
        steps = attacks.create(name).steps
        assert f"| `{name}` | {steps * count} |" in page


def test_gradients_pass_the_clipping():
    images = torch.tensor([-0.5, 0.5, 1.5]).requires_grad_(True)
    found = clipped(images)
    assert found.tolist() == [0, 0.5, 1]
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert gradient.tolist() == [1, 1, 1]


def test_the_cosine_transform_is_scipy_s():
    image = torch.rand(6, 9, dtype=torch.float64)
    found = cosines(6) @ image @ cosines(9).T
    torch.testing.assert_close(found, torch.from_numpy(dctn(image.numpy(), norm="ortho")))
    torch.testing.assert_close(cosines(6).T @ found @ cosines(9), image)


@pytest.mark.parametrize("degrees", [-24.0, 7.0, 90.0])
def test_the_rotation_is_torchvision_s(degrees):
    image = torch.rand(2, 3, 20, 33)
    expected = rotate(image, degrees, interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(rotated(image, degrees), expected, rtol=0, atol=1e-4)


def test_shuffled_blocks_hold_the_same_pixels():
    image = torch.rand(1, 3, 20, 33)
    (view,) = attacks.create("bsr:copies=1,angle=0").views(problem(image), 0)
    found = view(image)
    assert not torch.equal(found, image)
    torch.testing.assert_close(
        found.flatten().sort().values, image.flatten().sort().values, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_blocks(change):
    block = torch.rand(1, 3, 7, 4)
    found = [change(block, torch.Generator().manual_seed(seed)) for seed in range(3)]
    assert all(one.shape == block.shape for one in found)
    assert not all(torch.equal(one, block) for one in found)


def test_photographs_that_admix_mixes_in():
    assert photographs().shape == (4, 3, 128, 128)
    generator = torch.Generator().manual_seed(0)
    crops = [random_crop(torch.Size((10, 14)), generator) for _ in range(4)]
    assert all(crop.shape == (1, 3, 10, 14) for crop in crops)
    assert not torch.equal(crops[0], crops[1])
    assert all(0 <= float(crop.min()) < float(crop.max()) <= 1 for crop in crops)


NETWORKS = {
    "resnet50_thin_ridge": (lambda: load_classifier("resnet50_thin_ridge", pretrained=False), 12),
    "mobilenet_v2_ridge": (lambda: load_classifier("mobilenet_v2_ridge", pretrained=False), 10),
    "efficientnet_lite0": (lambda: load_classifier("efficientnet_lite0", pretrained=False), 9),
    "resnet18": (lambda: torchvision.models.resnet18(), 5),
    "timm resnet26": (lambda: timm.create_model("resnet26"), 4),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(), 10),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_of_known_networks(name):
    """A shortcut of twice the input is what a second addition of it by hand gives."""
    make, count = NETWORKS[name]
    network = make().eval()
    blocks = residual_blocks(network, "ghost")
    assert len(blocks) == count
    block = blocks[0].block
    inputs = []
    handle = block.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        network(images)
        handle.remove()
        x = inputs[0].clone()
        with scaled_shortcuts(blocks[:1], [3.0]):
            found = block(x)
        branch = []
        handle = blocks[0].tail.register_forward_hook(lambda m, i, out: branch.append(out.clone()))
        plain = block(x)
        handle.remove()
    rectified = bool((plain >= 0).all())
    expected = branch[0] + 3 * x
    torch.testing.assert_close(found, expected.relu() if rectified else expected)
    torch.testing.assert_close(plain, (branch[0] + x).relu() if rectified else branch[0] + x)


def test_decayed_branches_change_gradients_and_no_values():
    network = Block()
    images = torch.rand(1, 3, 4, 4).requires_grad_(True)
    blocks = residual_blocks(network, "sgm")
    with decayed(blocks, 0.25):
        found = network(images)
        (gradient,) = torch.autograd.grad(found.sum(), images)
    assert torch.equal(found, network(images))
    weights = network.conv.weight.sum((0, 2, 3)).view(1, 3, 1, 1)
    torch.testing.assert_close(gradient, (1 + 0.25 * weights).expand_as(images))
    assert not network.conv._forward_hooks


@pytest.mark.parametrize("name", [*GRADIENTS, "pgd", "mi-fgsm", "dim-ti"])
def test_targets_are_led_to(name, images, labels):
    torch.manual_seed(1)
    model = Counting()
    targets, few = (labels + 1) % 5, {"samples": 3, "copies": 3, "steps": 4}
    attack = attacks.create(name)
    given = {key: value for key, value in few.items() if hasattr(attack, key)}
    spec = AttackSpec(name, settings=given, targeted=True, eps=32 / 255)
    found = spec.runner(model, group=3)(images, targets)
    with torch.no_grad():
        before, after = (
            nn.functional.cross_entropy(model(shown), targets, reduction="none")
            for shown in (images, found)
        )
    assert (after < before).all()


@pytest.mark.parametrize("name", ["sgm", "ghost"])
def test_surrogates_without_residual_blocks(name, classifier, images, labels):
    with pytest.raises(InputError, match=rf"{name} works on networks with residual blocks; the"):
        attacks.create(name)(classifier, images, labels)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pi-fgsm:kernel=4", "kernel is 4; expected an odd number from 3"),
        ("vmi-fgsm:samples=0", "samples is 0; expected at least 1"),
        ("vmi-fgsm:radius=0", "radius is 0.0; expected more than 0"),
        ("pgn:balance=2", r"balance is 2.0; expected a value in \[0, 1\]"),
        ("gra:decay=0", r"decay is 0.0; expected a value in \(0, 1\]"),
        ("ssa:rho=1.5", r"rho is 1.5; expected a value in \[0, 1\]"),
        ("admix:mixed=0", "mixed is 0; expected at least 1"),
        ("admix:portion=-1", r"portion is -1.0; expected a value in \[0, 1\]"),
        ("bsr:blocks=0", "blocks is 0; expected at least 1"),
        ("sgm:gamma=0", r"gamma is 0.0; expected a value in \(0, 1\]"),
        ("ghost:erosion=2", r"erosion is 2.0; expected a value in \[0, 1\]"),
        ("si-ni-fgsm:copies=0", "copies is 0; expected at least 1"),
    ],
)
def test_settings_out_of_range(spec, message):
    with pytest.raises(InputError, match=message):
        attacks.create(spec)


@pytest.mark.parametrize("name", ["vmi-fgsm", "sia", "gra"])
def test_diversity_and_smoothing_go_with_all(name, images, labels, classifier):
    plain, both = (
        attacks.create(f"{name}:steps=2{more}")(
            classifier, images, labels, generator=torch.Generator().manual_seed(0)
        )
        for more in ("", ",diversity=1,smoothing=5")
    )
    assert not torch.equal(plain, both)


def test_ghosts_see_the_defense_s_draws(images, labels):
    """EOT and ensembles go with attacks that change the surrogate."""
    net = Counting().network
    model = attacks.EOT(attacks.Ensemble(net, net), 2)
    for name in ("ghost", "sgm", "vmi-fgsm", "admix"):
        found = attacks.create(name, steps=2)(model, images, labels)
        assert found.shape == images.shape
