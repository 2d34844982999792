import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.attacks.transforms import diverse_input, gaussian_kernel, smoother
from nrpurify.core.errors import InputError


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_diverse_input_resizes_and_pads(height, width, seed):
    images = torch.rand(2, 3, height, width) + 1
    generator = torch.Generator().manual_seed(seed)
    transform = diverse_input(images.shape, 1.0, generator)
    changed = transform(images)
    assert changed.shape == (2, 3, -(-height * 11 // 10), -(-width * 11 // 10))
    assert height * width <= (changed[0, 0] > 0).sum() <= changed[0, 0].numel()
    assert torch.equal(transform(images), changed)  # a draw is made once


def test_padded_size_of_round_numbers_is_exact():
    transform = diverse_input(torch.Size((1, 3, 100, 50)), 1.0, torch.Generator())
    assert transform(torch.zeros(1, 3, 100, 50)).shape[2:] == (110, 55)


def test_probability_is_the_share_of_changed_inputs():
    generator = torch.Generator().manual_seed(0)
    images = torch.ones(1, 3, 20, 20)
    changed = sum(
        diverse_input(images.shape, 0.7, generator)(images).shape != images.shape
        for _ in range(400)
    )
    assert 240 < changed < 320
    assert diverse_input(images.shape, 0.0, generator)(images) is images


def test_gaussian_kernel():
    kernel = gaussian_kernel()
    assert kernel.shape == (15, 15)
    assert kernel.sum().item() == pytest.approx(1)
    torch.testing.assert_close(kernel, kernel.flip(0).T)
    # linspace(-3, 3, 15) has steps of 3/7: one step off the center costs exp(-(3/7)²/2)
    assert (kernel[7, 8] / kernel[7, 7]).item() == pytest.approx(0.91226, abs=1e-4)
    assert gaussian_kernel(1).item() == 1
    for size in (4, 0, -3):
        with pytest.raises(InputError, match=f"size is {size}; expected an odd number"):
            gaussian_kernel(size)


def test_smoother_filters_channels_apart_and_pads_with_zeros():
    impulse = torch.zeros(1, 2, 5, 5)
    impulse[0, 0, 2, 2] = 1
    kernel = torch.arange(9.0).view(3, 3)
    smoothed = smoother(kernel)(impulse)
    torch.testing.assert_close(smoothed[0, 0, 1:4, 1:4], kernel.flip(0, 1))
    assert smoothed[0, 1].abs().sum() == 0
    corner = smoother(gaussian_kernel(3))(torch.ones(1, 1, 5, 5))
    assert corner[0, 0, 2, 2].item() == pytest.approx(1)
    assert corner[0, 0, 0, 0] < 1
    assert smoother(kernel)(impulse.double()).dtype == torch.float64


def test_smoothing_computes_in_fp32_under_autocast():
    gradient = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = smoother(gaussian_kernel(5))
    expected = smooth(gradient)
    with torch.autocast("cpu", torch.bfloat16):
        smoothed = smooth(gradient)
    assert smoothed.dtype == torch.float32
    torch.testing.assert_close(smoothed, expected, rtol=0, atol=0)
