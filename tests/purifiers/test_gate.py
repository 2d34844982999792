"""The gate: closed it leaves what the network says, open it gives the whole strength."""

import pytest
import torch
from torch import nn

from nrpurify import defenses
from nrpurify.core.checkpoint import write_carded
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.purifiers import (
    Gate,
    Purifier,
    Strength,
    gate,
    load_purifier,
    save_purifier,
)
from nrpurify.weights import weights_hash

STRONG = Strength(2.0, 1.5)


@pytest.fixture
def random_gate():
    torch.manual_seed(1)
    return Gate().requires_grad_(False)


class Says(nn.Module):
    """A gate of given answers."""

    def __init__(self, *shares):
        super().__init__()
        self.shares = torch.tensor(shares)

    def forward(self, images, purified):
        return self.shares


def test_one_share_an_image_whatever_its_sides(random_gate):
    for sides in ((1, 1), (2, 3), (31, 17), (64, 64)):
        images, purified = torch.rand(2, 3, 3, *sides)
        shares = random_gate(images, purified)
        assert shares.shape == (3,)
        assert ((shares > 0) & (shares < 1)).all()


def test_images_are_judged_one_by_one(random_gate):
    images, purified = torch.rand(2, 4, 3, 30, 22)
    alone = [random_gate(a[None], b[None]) for a, b in zip(images, purified, strict=True)]
    torch.testing.assert_close(random_gate(images, purified), torch.cat(alone))


def test_content_that_is_flat_and_untouched_tells_nothing(random_gate):
    dark, light = torch.full((2, 1, 3, 16, 16), 0.1), torch.full((2, 1, 3, 16, 16), 0.9)
    torch.testing.assert_close(random_gate.logits(*dark), random_gate.logits(*light))


@pytest.mark.parametrize("sides", [(64, 96), (65, 63), (97, 33), (96, 127), (31, 160)])
def test_pieces_of_large_images_make_no_difference(random_gate, monkeypatch, sides):
    images, purified = torch.rand(2, 2, 3, *sides)
    whole = random_gate.logits(images, purified)
    monkeypatch.setattr(gate, "SIDE", 32)
    torch.testing.assert_close(random_gate.logits(images, purified), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("width", [513, 516, 520, 1026])
def test_no_piece_is_narrow(random_gate, width):
    seen = []
    random_gate.features[-1].register_forward_hook(lambda *called: seen.append(called[2].shape[3]))
    random_gate.logits(*torch.rand(2, 1, 3, 8, width))
    assert min(seen) >= 4


def test_closed_half_open_and_open(changed):
    images = torch.rand(3, 3, 16, 24)
    gated = Purifier(changed.network, changed.card, STRONG, Says(0.0, 0.5, 1.0))
    rows = (Strength(), Strength(1.5, 1.25), STRONG)
    expected = [
        Purifier(changed.network, changed.card, strength)(image[None])
        for strength, image in zip(rows, images, strict=True)
    ]
    torch.testing.assert_close(gated(images), torch.cat(expected))


def test_strength_1_has_no_use_for_it(changed):
    images = torch.rand(1, 3, 16, 24)
    gated = Purifier(changed.network, changed.card, Strength(), Says(1.0))
    assert torch.equal(gated(images), changed(images))


def test_tiles_make_no_difference(changed, random_gate):
    strong = Purifier(changed.network, changed.card, STRONG, random_gate)
    strong.network.radius = 40
    images = torch.rand(2, 3, 150, 37)
    torch.testing.assert_close(strong.purify(images, tile=32), strong(images))


def test_gradients_pass_through_it(changed, random_gate):
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    share = random_gate(images.detach(), changed(images.detach())).item()
    found = [
        torch.autograd.grad(
            Purifier(changed.network, changed.card, STRONG, gate)(images).sum(), images
        )[0]
        for gate in (random_gate, Says(share))
    ]
    assert not torch.allclose(*found)


def test_files_keep_it_and_the_hash_sees_it(tmp_path, changed, random_gate):
    file, images = tmp_path / "p.safetensors", torch.rand(2, 3, 16, 24)
    plain = Purifier(changed.network, changed.card, STRONG)
    strong = Purifier(changed.network, changed.card, STRONG, random_gate)
    before = save_purifier(plain, file)
    card = save_purifier(strong, file, dtype=torch.float16)
    assert card.sha256 != before.sha256
    assert weights_hash("x", plain) != weights_hash("x", strong)
    torch.testing.assert_close(load_purifier(file)(images), strong(images), atol=2e-3, rtol=0)


def test_users_decide(tmp_path, changed, random_gate):
    file = tmp_path / "p.safetensors"
    save_purifier(Purifier(changed.network, changed.card, STRONG, random_gate), file)
    assert load_purifier(file, gate=False).gate is None
    assert load_purifier(file, coarse=3.0).gate is not None
    assert defenses.make(f"{file}:gate=false").gate is None
    with pytest.raises(InputError, match="gate is 'no'; expected true or false"):
        defenses.make(f"{file}:gate=no")
    assert not any(weight.requires_grad for weight in load_purifier(file).parameters())


@pytest.mark.parametrize(
    "change", [lambda t: t.pop("gate.last.bias"), lambda t: t.update({"gate.x": torch.ones(1)})]
)
def test_files_with_another_gate_are_refused(tmp_path, changed, random_gate, change):
    file = tmp_path / "p.safetensors"
    tensors = {**changed.network.state_dict(), **random_gate.state_dict(prefix="gate.")}
    change(tensors)
    write_carded(file, tensors, changed.card, dtype=torch.float32)
    with pytest.raises(WeightsError, match="does not fit its own card"):
        load_purifier(file)


@pytest.mark.parametrize("tile", [32, 512])
@pytest.mark.parametrize("strength", [Strength(), Strength(1.7, 1.2)])
def test_8_bit_images_become_what_floats_do_rounded(changed, random_gate, tile, strength):
    strong = Purifier(changed.network, changed.card, strength, random_gate)
    pixels = torch.randint(0, 256, (2, 3, 70, 300), dtype=torch.uint8)
    purified = strong.purify_pixels(pixels, tile=tile, halo=4)
    assert torch.equal(purified, to_uint8(strong.purify(from_uint8(pixels), tile=tile, halo=4)))


def test_8_bit_images_are_checked(changed):
    with pytest.raises(InputError, match=r"\(1, 3, 8, 8\); expected N×3×H×W uint8"):
        changed.purify_pixels(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"\(1, 3, 0, 8\); expected .* sides of at least 1 pixel"):
        changed.purify_pixels(torch.zeros(1, 3, 0, 8, dtype=torch.uint8))
