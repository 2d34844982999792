"""Each input transformation against a closed form or another library."""

import io
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import median_filter
from skimage.restoration import denoise_tv_bregman, denoise_wavelet
from torch.nn.functional import interpolate

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.defenses import (
    JPEG,
    TVM,
    GaussianNoise,
    Median,
    NeurIPSr3,
    RandomPad,
    Wavelet,
    make,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def hwc(image):
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("quality", [20, 75])
def test_jpeg_is_pillow_s(images, quality):
    pixels = (hwc(images[0]) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    expected = np.array(Image.open(file))
    assert np.array_equal(np.round(hwc(JPEG(quality)(images)[0]) * 255), expected)


def test_lower_quality_changes_more(images):
    changes = [float((JPEG(q)(images) - images).abs().mean()) for q in (95, 75, 50, 20)]
    assert changes == sorted(changes)


@pytest.mark.parametrize("weight", [10.0, 30.0])
def test_tvm_is_scikit_image_s(images, weight):
    expected = denoise_tv_bregman(hwc(images[1]), weight=weight, channel_axis=-1)
    assert np.allclose(hwc(TVM(weight)(images)[1]), expected, atol=1e-6)


def test_a_smaller_weight_is_smoother(images):
    def variation(x):
        return float(x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean())

    found = [variation(TVM(w)(images)) for w in (1.0, 10.0, 30.0)]
    assert found == sorted(found)
    assert found[-1] < variation(images)


def test_wavelet_is_bayes_shrink_in_ycbcr(images):
    expected = denoise_wavelet(
        hwc(images[0]), sigma=0.01, method="BayesShrink", mode="soft", convert2ycbcr=True,
        channel_axis=-1, rescale_sigma=True,
    )  # fmt: skip
    assert np.allclose(hwc(Wavelet()(images)[0]), expected.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_median_is_scipy_s(images, size):
    found = Median(size)(images)
    for image, row in zip(images, found, strict=True):
        for channel, filtered in zip(image.numpy(), row.numpy(), strict=True):
            assert np.array_equal(filtered, median_filter(channel, size=size, mode="mirror"))


def test_median_removes_a_lone_pixel():
    images = torch.full((1, 3, 5, 5), 0.25)
    images[..., 2, 3] = 1
    assert torch.equal(Median()(images), torch.full((1, 3, 5, 5), 0.25))


def test_random_pad_keeps_the_image_whole(images):
    """Inside the zeros lies a nearest-neighbor enlargement with a side in [low, high)."""
    for seed in range(8):
        placed = RandomPad(14, 20, generator=seeded(seed))(images + 0.01)
        assert placed.shape == (3, 3, 20, 20)
        for image, canvas in zip(images + 0.01, placed, strict=True):
            rows, columns = (canvas[0].any(dim).nonzero().flatten() for dim in (1, 0))
            side = len(rows)
            assert 14 <= side < 20
            assert len(columns) == side
            top, left = int(rows[0]), int(columns[0])
            inside = canvas[:, top : top + side, left : left + side]
            assert torch.equal(inside, interpolate(image[None], (side, side))[0])


def test_random_pad_draws_the_papers_sizes():
    image, pad = torch.ones(1, 3, 2, 2), RandomPad(generator=seeded())
    sides = {int(pad(image)[0, 0].any(0).sum()) for _ in range(200)}
    assert sides == set(range(310, 331))
    assert (pad.passes, pad.combine) == (30, "mean")


def test_noise_has_its_standard_deviation():
    images = torch.full((2, 3, 80, 80), 0.5)
    noise = GaussianNoise(0.05, generator=seeded())(images) - images
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean().item()) < 1e-3


def still(**settings):
    quiet = {"rotation": 0.0, "shear": 0.0, "shift": 0.0, "zoom": 1.0, "noise": 0.0}
    return NeurIPSr3(generator=seeded(), **{**quiet, **settings})


def test_nips_r3_without_movement_is_its_jpeg(images):
    torch.testing.assert_close(still()(images), JPEG(50)(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nips_r3_finds_places_in_half_precision(dtype):
    images = torch.rand(1, 3, 224, 224, generator=seeded()).to(dtype)
    found, wanted = (NeurIPSr3(generator=seeded())(x) for x in (images, images.float()))
    assert found.dtype == dtype
    assert (found.float() - wanted).abs().max() < 0.02


def test_nips_r3_noise_is_bounded(images):
    change = (still(noise=4 / 255)(images) - still()(images)).abs()
    assert 3.5 / 255 < change.max() <= 4 / 255 + 1e-6


def test_nips_r3_turns_by_the_angle_that_it_draws():
    """On a wide image the map is a rotation in pixels, not in shares of the sides."""
    defense = still(rotation=30.0)
    defense.uniform = lambda low, high: high
    matrix = defense._map(aspect=2.0)
    width, height = 40, 20
    pixels = torch.diag(torch.tensor([width / 2, height / 2]))
    turned = pixels @ matrix[:, :2] @ pixels.inverse()
    angle = math.radians(30)
    cos, sin = math.cos(angle), math.sin(angle)
    torch.testing.assert_close(turned, torch.tensor([[cos, -sin], [sin, cos]]))


@pytest.mark.parametrize("zoom", [0.5, 0.8])
def test_nips_r3_zoom_is_the_share_that_is_seen(zoom):
    defense = still(zoom=zoom)
    defense.uniform = lambda low, high: low
    assert torch.equal(defense._map(1.0).diagonal()[:2], torch.tensor([zoom, zoom]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JPEG(0), "quality is 0; expected 1 to 95"),
        (lambda: TVM(0.0), "weight is 0.0 and iterations 100; expected positive"),
        (lambda: TVM(1.0, 0), "weight is 1.0 and iterations 0; expected positive"),
        (lambda: Wavelet(-1.0), "sigma is -1.0; expected a positive"),
        (lambda: Wavelet(3), "sigma is 3; expected .* up to 1; write 3 of 255 as 3/255"),
        (lambda: Median(2), "size is 2; expected an odd"),
        (lambda: Median(9)(torch.zeros(1, 3, 4, 9)), "images are 9×4; .* sides above 4"),
        (lambda: RandomPad(10, 10), "low is 10 and high 10"),
        (lambda: TVM()(torch.zeros(1, 3, 1, 5)), "images are 5×1; tvm takes sides of at least 2"),
        (lambda: TVM()(torch.zeros(1, 3, 5, 1)), "images are 1×5; tvm takes sides of at least 2"),
        (lambda: GaussianNoise(-0.1), "std is -0.1"),
        (lambda: GaussianNoise(12), "std is 12; expected .* 0 to 1; write 12 of 255 as 12/255"),
        (lambda: NeurIPSr3(noise=4), "noise is 4; expected .* 0 to 1; write 4 of 255 as 4/255"),
        (lambda: NeurIPSr3(zoom=2.0), "zoom is 2.0, .* expected a zoom in"),
        (lambda: GaussianNoise(passes=0), "passes is 0"),
        (lambda: GaussianNoise(combine="max"), "combine is 'max'; expected 'mean' or 'vote'"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("make", [TVM, Wavelet])
def test_missing_packages_are_named(monkeypatch, make):
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    with pytest.raises(MissingExtraError, match=r"scikit-image.*nrpurify\[defenses\]"):
        make()


def test_missing_wavelets_are_named(monkeypatch):
    monkeypatch.setattr("nrpurify.defenses.wavelet.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"PyWavelets.*nrpurify\[defenses\]"):
        Wavelet()


@pytest.mark.parametrize(
    "spec",
    ["jpeg", "tvm", "median", "nips-r3", "noise", "wavelet", "tiny", "tiny:mode=dynamic",
     "jpeg+tiny+noise"],
)  # fmt: skip
def test_no_images_stay_none(images, spec):
    found = make(spec)(images[:0].double())
    assert found.shape == (0, *images.shape[1:])
    assert found.dtype == torch.float64
