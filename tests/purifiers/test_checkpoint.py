import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.hashing import tensors_hash
from nrpurify.purifiers import (
    DEFAULT,
    DESIGNS,
    Card,
    Design,
    build_purifier,
    checkpoint,
    convert_checkpoint,
    load_purifier,
    register_purifier,
    save_purifier,
    shipped,
)
from nrpurify.purifiers.purifier import _noted

SMALL = Design("resg", {"width": 4, "blocks": 1})


@pytest.fixture
def purifier():
    torch.manual_seed(0)
    return build_purifier("micro")


@pytest.fixture
def file(tmp_path, purifier):
    save_purifier(purifier, tmp_path / "p.safetensors")
    return tmp_path / "p.safetensors"


def write(path, tensors, card):
    text = card if isinstance(card, str) else card.with_hash(tensors).to_json()
    save_file(tensors, path, metadata={"card": text})
    return path


# --- round trips -----------------------------------------------------------------------------


def test_fp32_round_trip_is_exact(file, purifier, images):
    loaded = load_purifier(file)
    assert torch.equal(loaded(images), purifier.to(memory_format=torch.channels_last)(images))
    for name, value in purifier.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert loaded.network.head.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_and_half_as_large(tmp_path, file, purifier, images, dtype):
    half = tmp_path / "half.safetensors"
    save_purifier(purifier, half, dtype=dtype)
    assert half.stat().st_size < 0.55 * file.stat().st_size
    loaded = load_purifier(half)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(images), purifier(images), atol=0.01, rtol=0)


def test_card_travels_along(tmp_path, purifier):
    card = Card(
        "mine", purifier.card.architecture, purifier.card.arguments, {"data": "photos"},
        {"psnr": 30.5}, "MIT",
    )  # fmt: skip
    purifier.card = card
    written = save_purifier(purifier, tmp_path / "deep" / "p.safetensors")
    loaded = load_purifier(str(tmp_path / "deep" / "p.safetensors")).card
    assert loaded == written
    assert loaded.training == {"data": "photos"}
    assert Design.of(loaded) == DESIGNS["micro"]
    assert len(loaded.sha256) == 64
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.safetensors"]


def test_failed_write_leaves_the_old_file(monkeypatch, file, purifier):
    before = file.read_bytes()

    def fail(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("nrpurify.core.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_purifier(purifier, file)
    assert file.read_bytes() == before
    assert len(list(file.parent.iterdir())) == 1


def test_hash_is_over_names_types_shapes_and_values():
    a = {"w": torch.arange(4.0), "v": torch.ones(())}
    assert tensors_hash(a) == tensors_hash(dict(reversed(a.items())))
    for other in (
        {**a, "w": torch.arange(4.0).view(2, 2)},
        {**a, "w": torch.arange(4.0).double()},
        {**a, "w": torch.arange(4.0) + 1},
        {"x": a["w"], "v": a["v"]},
    ):
        assert tensors_hash(other) != tensors_hash(a)


# --- damage and malice -----------------------------------------------------------------------


@pytest.mark.parametrize("place", [-1, -5000])
def test_a_flipped_byte_is_detected(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=r"p.safetensors is damaged: .* hash on its card"):
        load_purifier(file)


@pytest.mark.parametrize("data", [b"", b"not safetensors", b"\xff" * 64, pickle.dumps({"a": 1})])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=r"x.pth is no readable safetensors file"):
        load_purifier(tmp_path / "x.pth")


def test_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        load_purifier(file)


def test_missing_card(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="has no model card; expected a file written by"):
        load_purifier(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "card",
    [
        "{", "[1]", "3", '{"name": "x"}', '{"name": "x", "architecture": "nrp", "extra": 1}',
        "[" * 100_000, '{"name": 3, "architecture": "nrp"}', '{"name": "x", "architecture": []}',
        '{"name": "x", "architecture": "nrp", "training": []}',
        '{"name": "x", "architecture": "nrp", "metrics": 1}',
        '{"name": "x", "architecture": "nrp", "arguments": [64]}',
    ],
)  # fmt: skip
def test_card_that_is_no_card(tmp_path, card):
    with pytest.raises(WeightsError, match=r"\.safetensors: the model card cannot be read"):
        load_purifier(write(tmp_path / "w.safetensors", {"w": torch.ones(1)}, card))


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("nrp", {"width": 10**12}),
        ("resg", {"blocks": 10**9}),
        ("unshuffle-unet", {"widths": [48] * 10**5, "blocks": [1] * 10**5}),
        ("unshuffle-rrdb", {"factor": 10**6}),
        ("unet", {"levels": 5000}),
        ("nrp", {"width": -1}),
        ("nrp", {"width": 1.5}),
        ("resg", {"blocks": 1024}),
        ("unshuffle-unet", {"widths": [1024] * 16, "blocks": [1024] * 16}),
        ("nrp", {f"argument{index}": 1 for index in range(1000)}),
    ],
)
def test_hostile_arguments_are_refused_before_anything_is_built(
    tmp_path, monkeypatch, architecture, arguments
):
    monkeypatch.setattr(Design, "build", lambda self: pytest.fail("was built"))
    path = write(
        tmp_path / "w.safetensors", {"w": torch.ones(1)}, Card("x", architecture, arguments)
    )
    with pytest.raises(
        WeightsError, match=r"\.safetensors: the model card describes no network"
    ) as caught:
        load_purifier(path)
    assert len(str(caught.value)) < 1000


def test_more_blocks_than_tensors_are_refused_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(Design, "build", lambda self: pytest.fail("was built"))
    card = Card("x", "unshuffle-unet", {"widths": [1024] * 8, "blocks": [64] * 8})
    with pytest.raises(WeightsError, match="does not fit its own card: 1 tensors for 512 blocks"):
        load_purifier(write(tmp_path / "w.safetensors", {"w": torch.ones(1)}, card))


def test_a_message_names_the_first_wrong_tensors_only(tmp_path):
    tensors = {f"w{index}": torch.ones(1) for index in range(64)}
    card = Card("x", "resg", {"width": 8, "blocks": 64})
    with pytest.raises(WeightsError, match=r"it misses \d+ tensors, such as .*, ") as caught:
        load_purifier(write(tmp_path / "w.safetensors", tensors, card))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(file, purifier, value):
    weights = purifier.network.state_dict()
    weights["head.weight"][0, 0, 0, 0] = value
    write(file, weights, purifier.card)
    before = file.read_bytes()
    with pytest.raises(WeightsError, match=r"head\.weight has NaN or infinite values; train"):
        load_purifier(file)
    with pytest.raises(WeightsError, match=r"head\.weight has NaN or infinite .* nothing was writ"):
        save_purifier(purifier, file)
    assert file.read_bytes() == before


def test_values_beyond_half_precision_are_not_written(file, purifier):
    purifier.network.state_dict()["head.weight"][0, 0, 0, 0] = 1e6
    with pytest.raises(WeightsError, match=r"in torch\.float16, so nothing was written"):
        save_purifier(purifier, file, dtype=torch.float16)


def test_a_full_disk_is_an_os_error(monkeypatch, file, purifier):
    def fail(tensors, path, metadata):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("nrpurify.core.checkpoint.save_file", fail)
    with pytest.raises(OSError, match=r"cannot write .*p\.safetensors.*No space left"):
        save_purifier(purifier, file)


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("resg", {"width": 1024, "blocks": 1}),
        ("unshuffle-rrdb", {"width": 1024, "factor": 300}),
        ("unshuffle-unet", {"factor": 1000}),
        ("unshuffle-unet", {"widths": [48], "blocks": [1, 1]}),
        ("resg", {"color": 3}),
        ("resnet", {}),
    ],
)
def test_card_that_does_not_fit_the_tensors(tmp_path, architecture, arguments):
    path = write(
        tmp_path / "w.safetensors", {"w": torch.ones(1)}, Card("x", architecture, arguments)
    )
    with pytest.raises(WeightsError, match="does not fit its own card"):
        load_purifier(path)


def test_wrong_shapes_are_named(tmp_path):
    tensors = SMALL.build().state_dict()
    tensors["conv_last.bias"] = torch.zeros(4)
    card = Card("x", SMALL.architecture, SMALL.arguments)
    with pytest.raises(WeightsError, match=r"conv_last\.bias"):
        load_purifier(write(tmp_path / "w.safetensors", tensors, card))


def test_unknown_names_say_what_there_is(tmp_path):
    for path in ("nofile.safetensors", "runs/mine", Path("runs", "x.pt")):
        said = f"no purifier '{path}': there is no such file; expected .* a file"
        with pytest.raises(InputError, match=said):
            load_purifier(path)
    with pytest.raises(InputError, match=r"no purifier 'fats'; expected .* a file"):
        load_purifier("fats")
    with pytest.raises(InputError, match=r"resg is a design: train it first"):
        load_purifier("resg")
    with pytest.raises(InputError, match=r"no purifier 'tiny:fine=1' \(settings go where"):
        load_purifier("tiny:fine=1")
    with pytest.raises(InputError, match=r"no purifier '.*': it is a folder; .* purifier\.safet"):
        load_purifier(tmp_path)


def test_shipped_names_are_found_before_files(monkeypatch, file, purifier):
    monkeypatch.setattr(checkpoint, "shipped", lambda: {"fast": file})
    assert load_purifier().card.name == "micro"


@pytest.mark.parametrize("name", shipped())
def test_shipped_purifiers_load_and_say_how_they_were_made(name):
    purifier = load_purifier(name)
    images = torch.rand(1, 3, 20, 30)
    assert purifier(images).shape == images.shape
    card = purifier.card
    assert card.name == name
    assert Design.of(card) == DESIGNS[card.training["recipe"]["purifier"]]
    assert card.license
    assert len(card.sha256) == 64
    assert {"recipe", "photos", "steps_done", "seconds", "nrpurify", "torch"} <= set(card.training)
    assert card.training["steps_done"] == card.training["recipe"]["steps"]
    given = "noisy" if name.startswith("denoise") else "attacked"
    if given == "attacked":
        assert card.metrics["feature_purified"] < card.metrics["feature_attacked"]
    assert card.metrics["psnr_purified"] > card.metrics[f"psnr_{given}"]
    assert card.metrics["agree_purified"] > card.metrics[f"agree_{given}"]
    assert Card.from_json(card.to_json()) == card


def test_the_default_is_shipped_and_small():
    assert DEFAULT in shipped()
    assert all(path.stat().st_size <= 12e6 for path in shipped().values())


def test_shipped_default_tiles_a_photo_as_the_whole():
    # noise is harder than a photo: with a halo of 96 the two are 1.6/255 apart, with 128 0.03/255
    photo = torch.rand(1, 3, 560, 560, generator=torch.Generator().manual_seed(0))
    purifier = load_purifier()
    seen = []
    purifier.network.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    tiled = purifier.purify(photo, tile=176)
    assert len(seen) == 12
    with torch.no_grad():
        whole = purifier(photo)
    assert (whole - photo).abs().mean() > 1 / 255  # it does something
    assert (tiled - whole).abs().max() < 0.5 / 255


# --- the authors' files ----------------------------------------------------------------------


@pytest.fixture
def authors_state(monkeypatch):
    monkeypatch.setitem(DESIGNS, "small", SMALL)
    torch.manual_seed(1)
    return SMALL.build().state_dict()


@pytest.mark.parametrize(
    "change",
    [
        dict,
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{k}": v.half() for k, v in state.items()}},
        lambda state: {k.replace("recon_trunk", "trunk"): v for k, v in state.items()},
    ],
)
def test_conversion(tmp_path, authors_state, images, change):
    torch.save(change(authors_state), tmp_path / "NRP.pth")
    converted = convert_checkpoint(tmp_path / "NRP.pth", "small")
    expected = SMALL.build()
    expected.load_state_dict(authors_state)
    torch.testing.assert_close(converted(images), expected(images).clamp(0, 1), atol=0.01, rtol=0)
    assert Design.of(converted.card) == SMALL
    assert not converted.training
    assert not any(p.requires_grad for p in converted.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "conv_last.bias": torch.zeros(5)}, r"conv_last.bias is \(5,\); expected"),
        (lambda s: {**s, "more": torch.zeros(1)}, r"has 9 tensors; expected 8"),
        (lambda s: dict(reversed(s.items())), r"conv_last.bias is \(3,\); expected conv_first.we"),
        (lambda s: [1, 2], "holds no state dict; expected names with a tensor each"),
        (lambda s: {**s, "conv_last.bias": 3}, "holds no state dict"),
        (lambda s: {"state_dict": [1]}, "holds no state dict"),
        (lambda s: dict(enumerate(s.values())), r"0 is \(4, 3, 3, 3\); expected conv_first.weight"),
    ],
)
def test_files_of_another_shape(tmp_path, authors_state, change, message):
    torch.save(change(authors_state), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message):
        convert_checkpoint(tmp_path / "x.pth", "small")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_pickle_bomb_is_refused(tmp_path, monkeypatch, authors_state):
    monkeypatch.chdir(tmp_path)
    torch.save({**authors_state, "bomb": Bomb()}, "x.pth")
    Path("y.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("x.pth", "y.pth", "missing.pth"):
        with pytest.raises(WeightsError, match="cannot be read as a state dict"):
            convert_checkpoint(name, "small")
    assert not Path("exploded").exists()


def repacked(path, target, compression):
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", compression) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    return target


def test_decompression_bombs_are_not_opened(tmp_path, monkeypatch, authors_state):
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "flat.pth")
    bomb = repacked(tmp_path / "flat.pth", tmp_path / "bomb.pth", zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 10**5
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("was read"))
    with pytest.raises(WeightsError, match=r"bomb\.pth: .* is compressed; expected a file as tor"):
        convert_checkpoint(bomb, "small")
    with pytest.raises(WeightsError, match=r"flat\.pth holds 4,.* bytes; expected at most 1,"):
        convert_checkpoint(tmp_path / "flat.pth", "small")
    (tmp_path / "old.pth").write_bytes(b"0" * 2 * 10**6)
    with pytest.raises(WeightsError, match=r"old\.pth holds 2,000,000 bytes"):
        convert_checkpoint(tmp_path / "old.pth", "small")


def test_files_of_the_older_kind_are_read(tmp_path, authors_state):
    torch.save(authors_state, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    converted = convert_checkpoint(tmp_path / "x.pth", "small")
    for name, value in authors_state.items():
        assert torch.equal(converted.network.state_dict()[name], value)


def test_a_broken_archive(tmp_path, authors_state):
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(WeightsError, match="cannot be read as a state dict: File is not a zip"):
        convert_checkpoint(tmp_path / "x.pth", "small")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.Tensor.to_sparse, "sparse_coo of torch.float32"),
        (lambda bias: bias + 1j, "strided of torch.complex64"),
        (torch.Tensor.int, "strided of torch.int32"),
        (lambda bias: bias.to("meta"), "strided of torch.float32"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_only_dense_floats_are_taken(tmp_path, authors_state, change, message):
    bias = change(authors_state["conv_last.bias"])
    torch.save({**authors_state, "conv_last.bias": bias}, tmp_path / "x.pth")
    expected = (
        rf"conv_last\.bias is torch\.{message}; expected conv_last\.bias as a dense .* floats"
    )
    with pytest.raises(WeightsError, match=expected):
        convert_checkpoint(tmp_path / "x.pth", "small")


def test_a_shipped_purifier_notes_small_images_once(tmp_path, caplog):
    _noted.clear()
    tiny = load_purifier("tiny")
    for images in (torch.rand(1, 3, 96, 97), torch.rand(2, 3, 120, 33), torch.rand(1, 3, 34, 40)):
        tiny(images)
    tiny.purify(torch.rand(1, 3, 33, 40))
    (text,) = caplog.messages
    assert text.startswith("images of 33 pixels: the shipped purifiers")
    save_purifier(tiny, tmp_path / "mine.safetensors")
    load_purifier(tmp_path / "mine.safetensors")(torch.rand(1, 3, 32, 32))
    assert len(caplog.messages) == 1


@register_purifier("shifted", source="a test")
class Shifted(nn.Module):
    """A network with a buffer that its files leave out."""

    multiple, radius = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.contrast = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), persistent=False)

    def forward(self, images):
        return self.mean + self.contrast * (images - self.mean)


def test_buffers_that_are_in_no_file_are_built_again(tmp_path, images):
    purifier = build_purifier("shifted")
    torch.nn.init.constant_(purifier.network.contrast, 0.5)
    save_purifier(purifier, tmp_path / "s.safetensors")
    before = torch.random.get_rng_state()
    loaded = load_purifier(tmp_path / "s.safetensors", device="cpu")
    torch.testing.assert_close(loaded(images), purifier(images))
    assert torch.equal(torch.random.get_rng_state(), before)
