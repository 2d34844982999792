"""Image files made byte by byte, for what Pillow does not write."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from nrpurify.core import color_profiles, opening
from nrpurify.core.errors import ImageError
from nrpurify.core.image_files import SUFFIXES, find_images
from nrpurify.core.images import load_batch, read_image, to_uint8


def chunk(kind, data, crc=None):
    """A PNG chunk; ``crc`` in place of the right one."""
    right = zlib.crc32(kind + data)
    return (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", right if crc is None else crc)
    )


def png(bits, color, rows, *extra, width=None):
    """A PNG of ``rows`` of packed bytes, with ``extra`` chunks behind its header."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    width = width or len(rows[0]) * 8 // (bits * channels)
    header = struct.pack(">IIBBBBB", width, len(rows), bits, color, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def shorts(*values):
    """Big-endian 16-bit values."""
    return struct.pack(f">{len(values)}H", *values)


def tiff(pixels, bits, photometric, *, samples=1, sample_format=1, width=1, height=1):
    """A little-endian TIFF of one strip of uncompressed ``pixels``."""
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
        (339, 3, 1, sample_format),
    ]
    pixels += b"\0" * (len(pixels) % 2)
    start = 8 + len(pixels)
    depth = struct.pack(f"<{samples}H", *[bits] * samples)
    if samples == 1:
        entries.append((258, 3, 1, bits))
        entries.sort()
        depth = b""
    else:
        entries.append((258, 3, samples, start))
        entries = [e if e[0] != 339 else (339, 3, 1, sample_format) for e in sorted(entries)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    directory = struct.pack("<H", len(entries)) + table + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", start + len(depth)) + pixels + depth + directory


P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
"""Red, green and blue of Display P3, as XYZ under D50."""
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))
D50 = (0.9642, 1.0, 0.8249)


def _curve():
    """The curve of sRGB: a parametric one of type 3."""
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(*numbers)


def _fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(primaries=P3, *, space=b"RGB ", curve=None):
    """An ICC profile: a matrix of ``primaries`` and one curve, or ``GRAY`` with the curve."""
    curve = curve or _curve()
    white = b"XYZ \0\0\0\0" + _fixed(*D50)
    if space == b"GRAY":
        tags = {b"wtpt": white, b"kTRC": curve}
    else:
        names = (b"rXYZ", b"gXYZ", b"bXYZ")
        tags = {n: b"XYZ \0\0\0\0" + _fixed(*p) for n, p in zip(names, primaries, strict=True)}
        tags |= {b"wtpt": white, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    place, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", place + len(data), len(value))
        data += value + b"\0" * (-len(value) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"lcms", 0x04300000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + _fixed(*D50)
    return head.ljust(128, b"\0") + body


def gamma(number):
    """A curve that is a power."""
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(number * 256)) + b"\0\0"


def values(array):
    """The levels of 255 of an image tensor, H×W×3 integers."""
    return np.rint(array.permute(1, 2, 0).numpy() * 255).astype(int).tolist()


@pytest.fixture
def written(tmp_path):
    def written(data, name="x.png"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return written


@pytest.fixture
def read(written):
    return lambda data, name="x.png": read_image(written(data, name))


def opacity(image):
    return None if image.alpha is None else image.alpha[0].tolist()


def key(*numbers):
    return chunk(b"tRNS", shorts(*numbers))


@pytest.mark.parametrize(
    ("bits", "row", "transparent", "grays"),
    [
        (1, b"\x40", 1, [0, 255]),
        (1, b"\x80", 0, [255, 0]),
        (2, b"\x10", 1, [0, 85]),
        (2, b"\x10", 0xFF01, [0, 85]),  # of the color, the file's bits alone count
        (4, b"\x1e", 14, [17, 238]),
        (8, b"\x0a\xc8", 200, [10, 200]),
        (8, b"\x0a\xc8", 0x01C8, [10, 200]),
        (16, b"\x40\x00\x40\x01", 0x4001, [64, 64]),
    ],
)
def test_the_transparent_gray_is_that_of_the_file(read, bits, row, transparent, grays):
    image = read(png(bits, 0, [row], key(transparent), width=2))
    assert values(image.rgb) == [[[gray] * 3 for gray in grays]]
    assert opacity(image) == [[1.0, 0.0]]


@pytest.mark.parametrize("interlaced", [False, True])
def test_transparent_16_bit_color_matches_all_its_bits(read, interlaced):
    row = shorts(0x1234, 2, 3, 0x1235, 2, 3)
    data = png(16, 2, [row], key(0x1234, 2, 3))
    if interlaced:  # 2×1 pixels: the first pass has one, the sixth the other
        data = png(16, 2, [row], key(0x1234, 2, 3))
        header = bytearray(data[12:29])
        header[-1] = 1
        passes = zlib.compress(b"\0" + row[:6] + b"\0" + row[6:])
        parts = chunk(b"IHDR", bytes(header[4:])), key(0x1234, 2, 3), chunk(b"IDAT", passes)
        data = data[:8] + b"".join(parts) + chunk(b"IEND", b"")
    assert opacity(read(data)) == [[0.0, 1.0]]


def test_transparent_8_bit_color(read):
    image = read(png(8, 2, [bytes([1, 2, 3, 1, 2, 4])], key(1, 2, 4)))
    assert opacity(image) == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("color", "row", "expected", "alpha"),
    [
        (2, shorts(0x40FF, 0x4000, 0xFFFF), [65, 64, 255], None),
        (6, shorts(0x40FF, 0x4000, 0xFFFF, 0x20FF), [65, 64, 255], 33),
        (0, shorts(0x40FF), [65] * 3, None),
        (4, shorts(0x40FF, 0x20FF), [65] * 3, 33),
    ],
)
def test_16_bits_are_rounded_to_the_nearest_level(read, color, row, expected, alpha):
    image = read(png(16, color, [row]))
    assert values(image.rgb) == [[expected]]
    assert (alpha is None) == (image.alpha is None)
    if image.alpha is not None:
        assert to_uint8(image.alpha).item() == alpha


@pytest.mark.parametrize("samples", [3, 4])
def test_16_bit_color_tiffs_are_rounded_too(read, samples):
    pixels = np.array([0x40FF, 0x4000, 0xFFFF, 0x80FF][:samples], "<u2").tobytes()
    image = read(tiff(pixels, 16, 2, samples=samples), "x.tiff")
    assert values(image.rgb) == [[[65, 64, 255]]]


@pytest.mark.parametrize(
    ("bits", "sample_format", "dtype", "full"),
    [(8, 1, "u1", 255), (16, 1, "<u2", 65535), (32, 3, "<f4", 1)],
)
def test_white_is_zero(read, bits, sample_format, dtype, full):
    for photometric, expected in ((0, 0.75), (1, 0.25)):
        pixels = np.array([full / 4]).astype(dtype).tobytes()
        data = tiff(pixels, bits, photometric, sample_format=sample_format)
        assert read(data, "x.tiff").rgb.mean().item() == pytest.approx(expected, abs=2 / 255)


def test_12_bit_tiffs_reach_white(read):
    assert read(tiff(b"\xff\xff\xff", 12, 1, width=2), "x.tiff").rgb.tolist() == [[[1.0, 1.0]]] * 3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.png", {}),
        ("x.tiff", {}),
        ("x.pgm", {}),
        ("x.jp2", {}),
        ("x.bmp", {}),
        ("x.jpg", {"quality": 100}),
        ("x.webp", {"lossless": True}),
        ("x.gif", {}),
    ],
)
def test_one_gray_is_read_alike_of_every_format(tmp_path, name, options):
    PilImage.new("L", (8, 8), 102).save(tmp_path / name, **options)
    assert (read_image(tmp_path / name).pixels == 102).all()


def test_one_gray_is_read_alike_at_every_depth(read, tmp_path):
    given = [read(png(bits, 0, [row])) for bits, row in ((2, b"\x55"), (4, b"\x55"), (8, b"\x55"))]
    given.append(read(png(16, 0, [b"\x55\x55"])))
    PilImage.new("I;16", (1, 1), 0x5555).save(tmp_path / "x.pgm")
    given += [read_image(tmp_path / "x.pgm"), read(tiff(b"\x55\x55", 16, 1), "x.tiff")]
    PilImage.new("I;16", (4, 4), 0x5555).save(tmp_path / "x.jp2")
    given.append(read_image(tmp_path / "x.jp2"))
    for image in given:
        assert image.rgb.shape[0] == 3
        assert torch.allclose(image.rgb, torch.tensor(1 / 3))


AVIF = ["x.avif"] if "AVIF" in opening.formats() else []
"""Pillow reads AVIF since 11.3."""


@pytest.mark.parametrize("name", ["x.ppm", "x.jp2", *AVIF])
def test_further_formats(tmp_path, name):
    picture = PilImage.new("RGB", (16, 8), (200, 100, 50))
    options = {"quality": 100, "subsampling": "4:4:4"} if name == "x.avif" else {}
    picture.save(tmp_path / name, **options)
    (found,) = find_images(tmp_path, recursive=False)
    off = read_image(found.path).pixels - torch.tensor([200.0, 100, 50])[:, None, None]
    assert off.abs().max() <= 3


def test_nothing_else_is_ever_tried(written, monkeypatch):
    assert set(opening.formats()) <= {*opening._PLUGINS, "HEIF"}
    monkeypatch.setattr("subprocess.check_call", lambda *a, **k: pytest.fail("a program started"))
    with pytest.raises(ImageError, match="not an image"):
        read_image(written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"))


def test_heic_names_its_plug_in(written, monkeypatch):
    monkeypatch.setattr("nrpurify.core.decoding.has_heif", lambda: False)
    with pytest.raises(ImageError, match="HEIC needs the package pillow-heif"):
        read_image(written(b"\0\0\0\x18ftypheic", "x.heic"))


@pytest.mark.skipif(not opening.has_heif(), reason="pillow-heif is not installed")
def test_heic_is_read(tmp_path):
    opening.formats()
    PilImage.new("RGB", (64, 64), (200, 100, 50)).save(tmp_path / "x.heic", quality=100)
    assert ".heic" in SUFFIXES
    assert read_image(tmp_path / "x.heic").rgb.shape == (3, 64, 64)


def icc(data, width=1):
    return chunk(b"iCCP", b"name\0\0" + zlib.compress(data))


def near(image, expected, off=1):
    return np.abs(np.array(values(image.rgb)) - expected).max() <= off


def test_display_p3_becomes_srgb(read):
    assert near(read(png(8, 2, [bytes([230, 40, 40])], icc(profile()))), [251, 0, 18])


def test_profiles_keep_transparency_and_orientation(tmp_path):
    picture = PilImage.new("RGBA", (2, 3), (230, 40, 40, 51))
    exif = PilImage.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "x.png", icc_profile=profile(), exif=exif)
    image = read_image(tmp_path / "x.png")
    assert image.rgb.shape == (3, 2, 3)
    assert near(image, [251, 0, 18])
    assert (image.opacity == 51).all()


@pytest.mark.parametrize("name", ["x.jpg", "x.webp", "x.tiff", *AVIF])
def test_profiles_of_other_formats(tmp_path, name):
    picture = PilImage.new("RGB", (16, 16), (230, 40, 40))
    picture.save(tmp_path / name, icc_profile=profile(), quality=100)
    assert near(read_image(tmp_path / name), [251, 0, 18], off=4)


def test_palettes_with_a_profile(read):
    palette = chunk(b"PLTE", bytes([230, 40, 40, 0, 0, 0]))
    assert near(read(png(8, 3, [b"\0\1"], icc(profile()), palette)), [[251, 0, 18], [0, 0, 0]])


def test_16_bit_color_with_a_profile(read):
    row = shorts(*(value * 257 for value in (230, 40, 40)))
    assert near(read(png(16, 2, [row], icc(profile()))), [251, 0, 18])


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_profiles(read, bits):
    row = b"\x80" * (bits // 8)
    image = read(png(bits, 0, [row], icc(profile(space=b"GRAY", curve=gamma(1)))))
    assert near(image, [188] * 3)  # half the light


def test_gray_images_with_a_color_profile(read):
    curve = profile(SRGB, curve=gamma(1))
    assert near(read(png(8, 0, [b"\x80"], icc(curve))), [188] * 3)


def test_srgb_profiles_leave_every_value_as_it_is(read):
    rows = [
        bytes(np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8)) for _ in range(50)
    ]
    image = read(png(8, 2, rows, icc(profile(SRGB))))
    assert image.pixels.permute(1, 2, 0).numpy().tobytes() == b"".join(rows)


def test_a_header_is_read_without_its_profile(written, monkeypatch):
    path = written(png(8, 2, [bytes([230, 40, 40])], icc(profile())))
    monkeypatch.setattr(color_profiles.zlib, "decompressobj", None)  # bombs cost time
    with opening.open_picture(path) as picture:
        assert picture.size == (1, 1)


def test_large_profiles_are_not_kept_in_memory(read):
    large = profile() + bytes(2**20)
    kept = color_profiles._cached_transform.cache_info().currsize
    assert near(read(png(8, 2, [bytes([230, 40, 40])], icc(large))), [251, 0, 18])
    assert color_profiles._cached_transform.cache_info().currsize == kept


@pytest.mark.parametrize(
    "extra",
    [
        icc(b"no profile"),
        icc(profile()[:200]),
        icc(profile(space=b"GRAY")),
        chunk(b"iCCP", b"name\0\0not packed"),
    ],
)
def test_broken_profiles_are_ignored_with_a_note(written, extra, caplog):
    path = written(png(8, 2, [bytes([230, 40, 40])], extra))
    image = read_image(path)
    assert "x.png': its color profile was ignored" in caplog.text
    assert values(image.rgb) == [[[230, 40, 40]]]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_huge_text_is_ignored(read, kind):
    packed = zlib.compress(bytes(3_000_000))
    head = b"key\0\0" if kind == b"zTXt" else b"key\0\1\0\0\0"
    assert values(read(png(8, 0, [b"\x07"], chunk(kind, head + packed))).rgb) == [[[7] * 3]]


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0", crc=0),
        chunk(b"eXIf", b"damaged"),
        chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        chunk(b"eXIf", b""),
        chunk(b"tEXt", b"key\0value", crc=0),
        chunk(b"gAMA", b""),
    ],
)
def test_damaged_metadata_does_not_matter(read, extra):
    assert values(read(png(8, 0, [b"\x07\x08"], extra)).rgb) == [[[7] * 3, [8] * 3]]


@pytest.mark.parametrize("damage", [b"PLTE", b"IDAT", b"tRNS"])
def test_damage_to_what_decides_pixels_is_refused(written, damage):
    data = png(8, 3, [b"\0\1"], chunk(b"PLTE", bytes(6)), chunk(b"tRNS", b"\0"))
    place = data.index(damage) + 4
    broken = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    with pytest.raises(ImageError):
        read_image(written(broken))


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation(tmp_path, turn):
    picture = PilImage.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    exif = PilImage.Exif()
    exif[0x0112] = turn
    picture.save(tmp_path / "x.png", exif=exif)
    how = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Pillow's constants of transpose
    expected = np.asarray(picture if turn == 1 else picture.transpose(how[turn]))
    assert np.array_equal(read_image(tmp_path / "x.png").pixels.permute(1, 2, 0), expected)


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp", "x.tiff", *AVIF])
def test_frames_are_refused_or_the_first_is_read(tmp_path, name):
    frames = [PilImage.new("RGB", (16, 16), (value,) * 3) for value in (10, 240)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"several frames or pages, expected one.*--frames first"):
        read_image(tmp_path / name)
    with pytest.raises(ImageError, match="several frames"):
        load_batch([tmp_path / name], 8, crop=True)
    assert read_image(tmp_path / name, frames="first").pixels.max() < 20


def test_photos_with_previews_are_stills(tmp_path):
    frames = [PilImage.new("L", (16, 16), value) for value in (10, 240)]
    frames[0].save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "x.jpg").pixels.max() < 20


def test_cmyk_of_16_bits(read):
    pixels = np.array([0, 65535, 65535, 0], "<u2").tobytes()
    assert values(read(tiff(pixels, 16, 5, samples=4), "x.tiff").rgb) == [[[255, 0, 0]]]
