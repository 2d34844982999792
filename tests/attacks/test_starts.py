import pytest
import torch

from nrpurify.attacks.constraints import LinfBall
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
