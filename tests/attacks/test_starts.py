import pytest
import torch

from nrpurify.attacks import r_fgsm
from nrpurify.attacks.constraints import LinfBall, ball_around
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.starts import STARTS, clean, gaussian, resolve_start, sign, uniform
from nrpurify.core.errors import InputError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_clean_is_the_image(images):
    assert clean(images, 0.1) is images


def test_uniform_fills_the_box():
    images = torch.full((2, 3, 30, 30), 0.5)
    noise = uniform(images, torch.tensor([0.1, 0.4]), seeded()) - images
    for delta, eps in zip(noise, (0.1, 0.4), strict=True):
        assert 0.95 * eps < delta.max() <= eps + 1e-6
        assert -0.95 * eps > delta.min() >= -eps - 1e-6
        assert abs(delta.mean()) < 0.05 * eps


def test_sign_lies_on_the_corners():
    images = torch.full((2, 3, 30, 30), 0.5)
    noise = sign(images, torch.tensor([0.1, 0.4]), seeded()) - images
    for delta, eps in zip(noise, (0.1, 0.4), strict=True):
        torch.testing.assert_close(delta.abs(), torch.full_like(delta, eps))
        assert 0.45 < (delta > 0).float().mean() < 0.55


def test_gaussian_replaces_the_image_and_ends_on_the_faces():
    images = torch.full((2, 3, 30, 30), 0.5)
    start = gaussian(images, 0.1, seeded())
    assert abs(start.mean()) < 0.05
    assert abs(start.std() - 1) < 0.05
    delta = LinfBall.around(images, 8 / 255).project(start) - 0.5
    assert (delta.abs() > 8 / 255 - 1e-6).float().mean() > 0.97


@pytest.mark.parametrize("name", STARTS)
def test_noise_depends_on_the_generator_not_on_the_batch(images, name):
    start = resolve_start(name)
    together = start(images, 0.1, seeded(3))
    generator = seeded(3)
    apart = torch.cat([start(image[None], 0.1, generator) for image in images])
    assert torch.equal(together, apart)
    assert together.shape == images.shape
    channels_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(start(channels_last, 0.1, seeded(3)), together)
    assert start(images.double(), 0.1, seeded(3)).dtype == torch.float64
    if name != "clean":
        assert not torch.equal(start(images, 0.1, seeded(4)), together)


def test_names_and_callables():
    def mine(images, eps, generator):
        return images

    assert resolve_start(mine) is mine
    with pytest.raises(InputError, match=r"no start 'noise'; expected one of clean, uniform"):
        resolve_start("noise")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["uniform", "sign", "gaussian"])
def test_a_start_keeps_to_its_share_of_the_budget(name, norm):
    images = torch.rand(2, 3, 12, 10, generator=seeded())
    radii = torch.tensor([0.2, 0.6]).view(-1, 1, 1, 1)
    start = AttackProblem(None, images, radii, norm, source=seeded()).start(name, 0.25)
    sizes = ball_around(images, radii, norm).size(start - images)
    assert (0.8 * 0.25 * radii.flatten() < sizes).all()
    assert (sizes <= 0.25 * radii.flatten() + 1e-6).all()
    assert start.min() >= 0
    assert start.max() <= 1


def test_the_random_step_of_r_fgsm_leaves_the_rest_to_the_gradient_in_l2():
    """On a linear model, whose weight is at a right angle to nearly all noise."""
    images = torch.full((1, 3, 32, 32), 0.5)
    weight = torch.randn(3 * 32 * 32, generator=seeded(1))
    found = r_fgsm(
        lambda x: torch.stack([x.flatten(1) @ weight, x.new_zeros(len(x))], 1),
        *(images, torch.tensor([1])),
        **{"eps": 1.0, "norm": "l2", "start_share": 0.6, "generator": seeded()},
    )
    change = (found - images).flatten()
    assert change.norm() < 0.8  # the root of 0.6² + 0.4²
    assert abs(float(change @ weight / weight.norm()) - 0.4) < 0.05
