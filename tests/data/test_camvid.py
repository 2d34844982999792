import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify.core.errors import InputError
from nrpurify.data.masks import (
    CAMVID,
    IGNORED,
    ClassTable,
    MaskError,
    Problem,
    count_problems,
    find_pairs,
    read_mask,
    read_sample,
)

TABLE = ClassTable(("a", "b", "c"), void=(3, 255))
VALUES = np.array([[0, 1, 2], [3, 1, 0]], dtype=np.uint8)
MASK = torch.tensor([[0, 1, 2], [IGNORED, 1, 0]])


def written(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def colored(values, table=CAMVID):
    colors = {value: color for color, value in table.colors.items()}
    return np.array([[colors[v] for v in row] for row in values.tolist()], dtype=np.uint8)


def test_grey_masks_hold_values(tmp_path):
    mask = read_mask(written(tmp_path / "m.png", VALUES), TABLE, (2, 3))
    assert mask.dtype == torch.int64
    assert torch.equal(mask, MASK)


def test_deep_grey_masks_hold_values(tmp_path):
    path = written(tmp_path / "m.png", VALUES.astype(np.uint16))
    assert torch.equal(read_mask(path, TABLE, (2, 3)), MASK)


@pytest.mark.parametrize(("bits", "rows"), [(2, (b"\x18", b"\xd0")), (4, (b"\1\x20", b"\x31\0"))])
def test_masks_of_few_bits_hold_values(tmp_path, bits, rows):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, bits, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    assert torch.equal(read_mask(tmp_path / "m.png", TABLE, (2, 3)), MASK)


def test_palette_masks_hold_indices(tmp_path):
    picture = Image.fromarray(VALUES).convert("P")
    picture.putpalette([200, 10, 10, 5, 5, 5, 0, 0, 90, 255, 255, 255])
    picture.putdata(VALUES.flatten().tolist())
    picture.save(tmp_path / "m.png")
    assert torch.equal(read_mask(tmp_path / "m.png", TABLE, (2, 3)), MASK)


def test_color_masks_are_looked_up(tmp_path):
    values = np.array([[0, 10, 11], [3, 8, 5]])
    mask = read_mask(written(tmp_path / "m.png", colored(values)), CAMVID, (2, 3))
    assert mask.tolist() == [[0, 10, IGNORED], [3, 8, 5]]


@pytest.mark.parametrize("table", [TABLE, CAMVID])
def test_three_equal_channels_are_grey(tmp_path, table):
    values = np.where(VALUES == 3, 2, VALUES)
    path = written(tmp_path / "m.png", np.stack([values] * 3, -1))
    assert read_mask(path, table, (2, 3)).tolist() == values.tolist()


def test_unknown_values_are_counted_and_shown(tmp_path):
    path = written(tmp_path / "m.png", np.array([[0, 7, 7]], dtype=np.uint8))
    with pytest.raises(MaskError, match=r"2 pixels of unknown classes, such as 7; expected 0 to 2"):
        read_mask(path, TABLE, (1, 3))


def test_unknown_colors_are_shown(tmp_path):
    path = written(tmp_path / "m.png", np.array([[[128, 0, 0], [1, 2, 3]]], dtype=np.uint8))
    with pytest.raises(MaskError, match="#010203") as error:
        read_mask(path, CAMVID, (1, 2))
    assert error.value.kind == "unknown value"


def test_the_size_is_compared_before_anything_is_decoded(tmp_path):
    path = written(tmp_path / "m.png", VALUES)
    with pytest.raises(MaskError, match="is 3×2 pixels; its image is 480×360"):
        read_mask(path, TABLE, (360, 480))


def test_broken_masks_are_named(tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(b"no picture")
    with pytest.raises(MaskError, match=r"cannot read .*m\.png") as error:
        read_mask(path, TABLE, (2, 3))
    assert error.value.kind == "unreadable"


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b", "sub/c", "sub/only-image"):
        written(tmp_path / "images" / f"{name}.jpg", np.zeros((2, 3, 3), dtype=np.uint8))
    for name in ("a", "b_L", "sub/c", "only-mask"):
        written(tmp_path / "masks" / f"{name}.png", VALUES)
    return tmp_path / "images", tmp_path / "masks"


def test_pairs_have_one_name_and_the_lonely_are_named(folders):
    pairs, problems = find_pairs(*folders)
    assert [pair.name for pair in pairs] == ["a.jpg", "b.jpg", "sub/c.jpg"]
    assert pairs[1].mask.name == "b_L.png"
    assert count_problems(problems) == {"image without mask": 1, "mask without image": 1}
    assert [problem.name for problem in problems] == ["sub/only-image.jpg", "only-mask.png"]
    assert "has no partner in" in problems[0].text


def test_two_masks_of_one_image_are_refused(folders):
    written(folders[1] / "a_L.png", VALUES)
    with pytest.raises(InputError, match=r"a\.png.*a_L\.png.*are masks of one image"):
        find_pairs(*folders)


def test_samples_are_read_or_say_why_not(folders):
    pairs, _ = find_pairs(*folders)
    sample = read_sample(pairs[0], TABLE)
    assert sample.image.shape == (3, 2, 3)
    assert torch.equal(sample.mask, MASK)
    written(pairs[0].mask, VALUES[:1])
    pairs[1].image.write_bytes(b"no picture")
    assert [read_sample(pair, TABLE).kind for pair in pairs[:2]] == ["wrong size", "unreadable"]
    assert isinstance(read_sample(pairs[0], TABLE), Problem)


def test_a_mask_that_claims_to_be_huge_is_named(folders, monkeypatch):
    pairs, _ = find_pairs(*folders)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(MaskError, match="Pillow's limit of 4; shrink it"):
        read_mask(pairs[0].mask, TABLE, (2, 3))


def test_folders_that_cannot_be_paired(folders, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        find_pairs(tmp_path / "nowhere", folders[1])
    with pytest.raises(InputError, match="the same names but for the suffix"):
        find_pairs(folders[0] / "sub", folders[1])
    written(folders[1] / "a.bmp", VALUES)
    with pytest.raises(InputError, match="have one name"):
        find_pairs(*folders)
