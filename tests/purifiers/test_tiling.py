from concurrent.futures import ThreadPoolExecutor
from threading import current_thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.core.errors import InputError
from nrpurify.purifiers import Purifier, build_purifier
from nrpurify.purifiers.tiling import apply_tiled, tile_shape, tile_sizes


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(0, 9))
@settings(deadline=None)
def test_identity_is_put_together_again(height, width, tile, halo):
    images = torch.rand(1, 3, height, width)
    for multiple in (1, 4):
        tiled = apply_tiled(lambda x: x, images, tile=tile, halo=halo, multiple=multiple)
        assert torch.equal(tiled, images)


@pytest.mark.parametrize(
    ("size", "tile"), [((1, 1), 8), ((7, 61), 8), ((50, 33), 13), ((64, 48), 16), ((65, 66), 21)]
)
def test_equal_to_the_whole_when_the_halo_covers_the_radius(small, size, tile):
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        whole = small(images)
    halo = small.network.radius
    tiled = apply_tiled(small, images, tile=tile, halo=halo, multiple=small.network.multiple)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    tiled = small.purify(images, tile=tile, halo=halo)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


def test_a_halo_below_the_radius_is_not_enough(small):
    """Else the test above would prove nothing."""
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        whole = small(images)
    tiled = apply_tiled(small, images, tile=8, halo=0, multiple=small.network.multiple)
    assert (tiled - whole).abs().max() > 1e-3


def test_default_settings_are_within_one_step_of_a_byte():
    torch.manual_seed(0)
    purifier = build_purifier("micro")
    images = torch.rand(1, 3, 1460, 1460)
    with torch.no_grad():
        for weight in purifier.parameters():
            weight += 0.003 * torch.randn_like(weight)
        whole = purifier(images)
    assert (purifier.purify(images) - whole).abs().max() < 1 / 255
    part = images[..., :40, :800]
    with torch.no_grad():
        whole = purifier(part)
    assert (purifier.purify(part, tile=64, halo=32) - whole).abs().max() < 1 / 255


def test_memory_depends_on_the_tile_alone():
    seen = []

    def function(part):
        seen.append(part.shape)
        assert not torch.is_grad_enabled()
        return part

    apply_tiled(function, torch.zeros(1, 3, 100, 300), tile=32, halo=8, multiple=4)
    assert max(shape[2] for shape in seen) == 48
    assert max(shape[3] for shape in seen) == 48
    assert len(seen) == 4 * 10


def test_tile_and_halo_are_rounded_up_to_the_grid():
    corners = set()

    def function(part):
        corners.add((int(part[0, 0, 0, 0]), part.shape[3]))
        return part

    line = torch.arange(40.0).expand(1, 1, 1, 40)
    apply_tiled(function, line, tile=9, halo=3, multiple=4)
    assert corners == {(0, 16), (8, 20), (20, 20), (32, 8)}


@pytest.mark.parametrize(("tile", "halo"), [(0, 1), (-4, 0), (8, -1)])
def test_sizes_are_checked(tile, halo):
    with pytest.raises(InputError, match=rf"tile is {tile} and halo {halo}; expected tile >= 1"):
        apply_tiled(lambda x: x, torch.zeros(1, 3, 4, 4), tile=tile, halo=halo)


def test_purify_counts_its_passes():
    class Counting(torch.nn.Module):
        multiple, radius, calls = 1, 1, 0

        def forward(self, images):
            self.calls += 1
            return images

    network = Counting()
    purifier = Purifier(network, build_purifier("micro").card)
    purifier.purify(torch.rand(1, 3, 10, 10), tile=8)
    assert network.calls == 1  # 10 <= 8 + 2·1
    purifier.purify(torch.rand(1, 3, 10, 11), tile=8)
    assert network.calls == 1 + 2
    purifier.purify(torch.rand(9, 3, 400, 600))
    assert network.calls == 1 + 2 + 3  # 3 images at a time have at most 800,000 pixels


@pytest.mark.parametrize(
    ("size", "tile", "shape"),
    [
        ((10, 10), 8, (10, 10)),
        ((10, 11), 8, (10, 6)),  # read: 10·13, and 13·11 the other way
        ((1080, 1920), 1200, (1080, 1920)),
        ((3000, 4000), 1200, (1000, 1334)),
        ((20, 4000), 8, (7, 9)),
    ],
)  # fmt: skip
def test_as_few_pixels_as_can_be_are_read(size, tile, shape):
    halo = 1 if tile == 8 else 128
    high, wide = tile_shape(*size, tile, halo)
    assert (high, wide) == shape
    assert (high + 2 * halo) * (wide + 2 * halo) <= (tile + 2 * halo) ** 2 or (high, wide) == size


@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (1, [1]), (512, [512]), (513, [513]), (543, [543]), (544, [512, 32]), (1030, [512, 518])
    ],
)  # fmt: skip
def test_no_last_tile_is_narrow(length, sizes):
    assert tile_sizes(length, 512) == sizes


def test_small_tiles_are_as_small_as_wanted():
    assert tile_sizes(9, 4) == [4, 4, 1]
    assert tile_sizes(0, 4) == []


@pytest.mark.parametrize("amp", [False, True])
def test_threads_that_share_the_tiles_change_no_bit(small, amp):
    pixels = torch.randint(0, 256, (1, 3, 150, 70), dtype=torch.uint8)
    names = set()
    handle = small.network.register_forward_hook(lambda *_: names.add(current_thread().name))
    with ThreadPoolExecutor(3, "tiles") as threads, torch.inference_mode():
        shared = small.purify_pixels(pixels, tile=24, halo=8, amp=amp, executor=threads)
    assert names
    assert all(name.startswith("tiles") for name in names)
    assert torch.equal(shared, small.purify_pixels(pixels, tile=24, halo=8, amp=amp))
    handle.remove()


def test_an_error_in_a_thread_is_raised():
    def broken(part):
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as threads, pytest.raises(ZeroDivisionError):
        apply_tiled(broken, torch.rand(1, 3, 40, 40), tile=8, halo=0, executor=threads)


@pytest.mark.parametrize("side", [40, 400])
@pytest.mark.parametrize("given", [{"tile": 0}, {"tile": -5}, {"halo": -5}])
def test_tiles_without_pixels_are_refused_at_any_size(small, side, given):
    images = torch.rand(1, 3, side, side)
    for work in (small.purify, small.score):
        with pytest.raises(InputError, match="expected tile >= 1 and halo >= 0"):
            work(images, **given)
