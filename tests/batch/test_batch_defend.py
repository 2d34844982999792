from threading import current_thread

import pytest
import torch
from torch import nn

from nrpurify import defenses
from nrpurify.batch import purify_folder
from nrpurify.batch.defend import defend_image
from nrpurify.batch.pipeline import worker_threads
from nrpurify.core.images import Image, read_image, write_png
from nrpurify.purifiers import build_purifier


def defended(spec, image, **options):
    return defend_image(defenses.make(spec, **options), image, device="cpu", tile=64, amp=False)


def marked(dtype=torch.uint8):
    """White and opaque in one quarter, black and transparent elsewhere."""
    pixels = torch.zeros(1, 40, 60, dtype=dtype)
    pixels[:, 8:24, 16:40] = 255 if dtype == torch.uint8 else 1
    return Image(pixels.expand(3, -1, -1), pixels, "x.png")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    "spec", ["rp:low=50,high=80", "none+rp:low=50,high=80", "rp:low=50,high=80+rp:low=90,high=99"]
)
def test_opacity_is_placed_by_the_draws_of_the_image(spec, dtype):
    rgb, alpha = defended(spec, marked(dtype), seed=3)
    assert alpha.shape == (1, *rgb.shape[1:])
    assert torch.equal(rgb[0] > 0.5, alpha[0] > 0.5)
    assert (alpha > 0.5).any()


def test_opacity_goes_through_the_affine_map_of_the_image():
    spec = "nips-r3:quality=95,noise=0,rotation=20,shift=0.1"
    rgb, alpha = defended(spec, marked(), seed=3)
    assert ((rgb[0] > 0.5) != (alpha[0] > 0.5)).float().mean() < 0.01
    assert (alpha - marked().alpha).abs().max() > 0.5


def test_opacity_takes_no_draws():
    image = marked()
    for spec in ("rp:low=50,high=80", "nips-r3", "noise"):
        defense, plain = (defenses.make(spec, seed=1) for _ in range(2))
        for _ in range(2):
            found, _ = defend_image(defense, image, device="cpu", tile=64, amp=False)
            assert torch.equal(found, plain(image.rgb[None])[0])


class Double(nn.Module):
    def forward(self, images):
        return nn.functional.interpolate(images, scale_factor=2)


def test_opacity_is_resized_where_the_whole_image_is():
    rgb, alpha = defend_image(Double(), marked(), device="cpu", tile=64, amp=False)
    assert torch.equal(rgb[:1], alpha)


def test_8_bit_images_stay_so_behind_a_purifier(tmp_path):
    purifier = defenses.make("tiny")
    image = marked()
    rgb, alpha = defend_image(purifier, image, device="cpu", tile=64, amp=False)
    assert rgb.dtype == alpha.dtype == torch.uint8
    write_png(tmp_path / "x.png", image.pixels, image.opacity)
    purify_folder(tmp_path / "x.png", tmp_path / "y.png", purifier, amp=False)
    written = read_image(tmp_path / "y.png")
    assert torch.equal(written.pixels, rgb)
    assert torch.equal(written.opacity, alpha)
    write_png(tmp_path / "z.png", purifier.purify(image.rgb[None])[0])
    assert torch.equal(read_image(tmp_path / "z.png").pixels, rgb)


@pytest.mark.slow
def test_all_threads_share_the_tiles_of_a_large_image(tmp_path):
    write_png(tmp_path / "large.png", torch.rand(3, 300, 1000))
    purifier, names = build_purifier("micro"), set()
    purifier.network.register_forward_hook(lambda *_: names.add(current_thread().name))
    for workers in (1, 3):
        out = tmp_path / str(workers)
        source, target = tmp_path / "large.png", out / "x.png"
        result = purify_folder(source, target, purifier, tile=16, workers=workers)
        assert result.items[0].status == "done"
    assert (tmp_path / "1/x.png").read_bytes() == (tmp_path / "3/x.png").read_bytes()
    assert len(names) > 2


def test_a_threads_cores_stay_when_others_ask_for_more():
    before = torch.get_num_threads()
    with worker_threads(1) as pool:
        pool.submit(int).result()
        torch.set_num_threads(before + 1)
        assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before
