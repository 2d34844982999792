import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.purifiers import DynamicPurifier, Purifier, build_purifier


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Same(nn.Module):
    multiple, radius = 1, 0

    def forward(self, images):
        return images


def test_output_is_clamped_and_differentiable():
    purifier = build_purifier("micro")
    with torch.no_grad():
        purifier.network.tail.weight.mul_(2)
    images = torch.rand(1, 3, 9, 9, requires_grad=True)
    purified = purifier(images)
    assert purified.max() == 1
    purified.sum().backward()
    assert images.grad.abs().sum() > 0


def test_odd_sizes_are_padded_by_their_border():
    purifier = Purifier(Same(), build_purifier("micro").card)
    seen = []
    purifier.network.multiple = 8
    purifier.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images = torch.rand(1, 3, 5, 9)
    assert torch.equal(purifier(images), images)
    assert seen[0].shape == (1, 3, 8, 16)
    assert torch.equal(seen[0][..., 4, :9], seen[0][..., 7, :9])
    assert torch.equal(seen[0][..., 8], seen[0][..., 15])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_type_of_the_images_is_kept(dtype):
    purifier = build_purifier("micro")
    images = torch.rand(1, 3, 8, 8).to(dtype)
    assert purifier(images).dtype == dtype
    assert purifier.purify(images, amp=True).dtype == dtype
    torch.testing.assert_close(purifier(images).float(), images.float(), atol=0.1, rtol=0)


def test_purify_has_no_gradients_and_checks_its_images():
    purifier = build_purifier("micro")
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    assert not purifier.purify(images).requires_grad
    torch.testing.assert_close(purifier.purify(images), purifier(images).detach())
    with pytest.raises(InputError, match="divide uint8 values by 255"):
        purifier.purify(images.detach() * 255)
    with pytest.raises(InputError, match="add a batch dimension"):
        purifier.purify(images[0])
    for call in (purifier, purifier.purify, purifier.score):
        with pytest.raises(InputError, match=r"torch.uint8; expected floats: divide uint8 by 255"):
            call(images.detach().byte())


def test_bf16_is_near():
    purifier = build_purifier("micro").eval()
    images = torch.rand(1, 3, 32, 32)
    rough = purifier.purify(images, amp=True)
    assert not torch.equal(rough, purifier.purify(images))
    torch.testing.assert_close(rough, purifier.purify(images), atol=0.02, rtol=0)
    tiled = purifier.purify(images, amp=True, tile=16, halo=0)
    torch.testing.assert_close(tiled, images, atol=0.1, rtol=0)


def test_dynamic_is_reproducible_by_its_generator(images):
    first = DynamicPurifier(Same(), generator=seeded(1))
    again = DynamicPurifier(Same(), generator=seeded(1))
    draws = [first(images) for _ in range(2)]
    assert torch.equal(draws[0], again(images))
    assert torch.equal(draws[1], again(images))
    assert not torch.equal(*draws)
    assert not torch.equal(DynamicPurifier(Same(), generator=seeded(2))(images), draws[0])


@pytest.mark.parametrize("noise", [0.01, 0.05, 1.0])
def test_dynamic_step_is_bounded(noise):
    images = torch.full((2, 3, 20, 20), 0.5)
    step = DynamicPurifier(Same(), noise=noise, generator=seeded())(images) - images
    assert step.abs().max() <= 16 / 255 + 1e-6
    if noise == 0.01:
        assert abs(step.std() - 0.01) < 1e-3
    white = DynamicPurifier(Same(), noise=noise, generator=seeded())(images * 2)
    assert white.max() == 1


def test_dynamic_defaults_are_those_of_the_appendix():
    dynamic = DynamicPurifier(Same())
    assert (dynamic.noise, dynamic.eps) == (0.05, 16 / 255)


def test_dynamic_is_differentiable(images):
    images.requires_grad_(True)
    DynamicPurifier(build_purifier("micro"), generator=seeded())(images).sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 16}, "eps is 16; expected a value from 0 to 1; write 16 of 255 as 16/255"),
        ({"noise": 12.0}, "noise is 12.0; expected .*; write 12 of 255 as 12/255"),
        ({"eps": -0.1}, "eps is -0.1; expected a value from 0 to 1$"),
        ({"noise": float("nan")}, "noise is nan; expected"),
    ],
)
def test_dynamic_settings_that_cannot_be(settings, message):
    with pytest.raises(InputError, match=message):
        DynamicPurifier(Same(), **settings)


@pytest.mark.parametrize(("design", "scale"), [("micro", 1), ("edsr", 2)])
def test_no_images_have_the_size_of_purified_ones(design, scale):
    assert build_purifier(design)(torch.zeros(0, 3, 9, 7)).shape == (0, 3, 9 * scale, 7 * scale)
