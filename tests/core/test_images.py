import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.images import from_uint8, load_batch, read_image, to_picture, to_uint8, write_png
from nrpurify.core.opening import open_picture

COLOR = (200, 100, 50)


@pytest.fixture
def save(tmp_path):
    def save(picture, name="x.png", **options):
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def plain(mode="RGB", color=COLOR, size=(6, 4)):
    return PilImage.new(mode, size, color)


def mean_color(rgb):
    return rgb.mean(dim=(1, 2)).mul(255)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tiff", "x.gif"])
def test_every_format_is_read(save, name):
    image = read_image(save(plain(), name))
    assert image.rgb.shape == (3, 4, 6)
    assert image.rgb.dtype == torch.float32
    assert image.alpha is None
    assert image.path.name == name
    assert torch.allclose(mean_color(image.rgb), torch.tensor(COLOR).float(), atol=3)


@pytest.mark.parametrize(("mode", "color"), [("L", 77), ("1", 1), ("LA", (77, 128))])
def test_grey_becomes_rgb(save, mode, color):
    image = read_image(save(plain(mode, color)))
    assert torch.equal(image.rgb[0], image.rgb[1])
    assert mean_color(image.rgb)[2].round() == (255 if mode == "1" else 77)
    assert (image.alpha is not None) == (mode == "LA")


def test_rgba_keeps_color_under_transparency(save):
    image = read_image(save(plain("RGBA", (*COLOR, 51))))
    assert image.alpha.shape == (1, 4, 6)
    assert torch.allclose(image.alpha, torch.tensor(0.2))
    assert torch.equal(mean_color(image.rgb).round(), torch.tensor(COLOR).float())


def test_palette_with_and_without_transparency(save):
    palette = plain("P", 0)
    palette.putpalette([*COLOR, 0, 0, 0])
    palette.putpixel((0, 0), 1)
    assert read_image(save(palette)).alpha is None
    image = read_image(save(palette, "t.png", transparency=bytes([255, 0])))
    assert image.alpha[0, 0, 0] == 0
    assert image.alpha[0, 1:].min() == 1
    assert torch.equal(image.rgb[:, 1, 1].mul(255).round(), torch.tensor(COLOR).float())


def test_16_bit_rgb_png_is_read_with_the_precision_of_pillow(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", 65535, 0, 0x8080))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    rgb = read_image(tmp_path / "x.png").rgb
    assert torch.allclose(rgb.flatten(), torch.tensor([1.0, 0.0, 128 / 255]))


@pytest.mark.parametrize("name", ["x.png", "x.tiff"])
def test_16_bit_grey_is_scaled_not_clipped(save, name):
    values = np.array([[0, 300], [40000, 65535]], dtype=np.uint16)
    image = read_image(save(PilImage.fromarray(values), name))
    expected = torch.from_numpy(values.astype(np.float32) / 65535)
    assert torch.equal(image.rgb, expected.expand(3, 2, 2))


def test_float_tiff_in_range_is_read_and_out_of_range_refused(save):
    values = np.array([[0.0, 0.25]], dtype=np.float32)
    assert torch.equal(
        read_image(save(PilImage.fromarray(values), "f.tiff")).rgb[0], torch.from_numpy(values)
    )
    with pytest.raises(ImageError, match="save it with 8 or 16 bits"):
        read_image(save(PilImage.fromarray(values * 1000), "g.tiff"))


def test_cmyk_becomes_rgb(save):
    image = read_image(save(plain("CMYK", (0, 255, 255, 0)), "x.jpg", quality=95))
    red, green, blue = mean_color(image.rgb)
    assert red > 200
    assert max(green, blue) < 60


def test_exif_orientation_is_applied(save):
    picture = plain(size=(6, 4))
    picture.putpixel((0, 3), (0, 0, 0))
    exif = PilImage.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise: the lower left corner comes to the upper left
    image = read_image(save(picture, exif=exif))
    assert image.rgb.shape == (3, 6, 4)
    assert image.rgb[:, 0, 0].max() == 0


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png.*No such file"):
        read_image(tmp_path / "absent.png")


@pytest.mark.parametrize("content", [b"", b"just text", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_not_an_image_is_refused(tmp_path, content):
    path = tmp_path / "fake.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"fake\.png.*not an image"):
        read_image(path)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tiff", "x.gif", "x.bmp"])
def test_truncated_files_are_refused(save, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(PilImage.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=name):
        read_image(path)


def test_too_many_pixels_are_refused_before_decoding(save, monkeypatch):
    path = save(plain(size=(30, 20)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match=r"30×20 = 600 pixels.*limit of 599"):
        read_image(path, max_pixels=599)


def test_limit_is_inclusive_and_silences_the_warning_of_pillow(save, monkeypatch):
    path = save(plain(size=(30, 20)))
    monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 400)
    filters = list(warnings.filters)
    assert read_image(path, max_pixels=600).rgb.shape == (3, 20, 30)
    assert warnings.filters == filters
    assert PilImage.MAX_IMAGE_PIXELS == 400


def test_opening_never_swaps_the_filters_of_other_threads(save, monkeypatch):
    path = save(plain(size=(30, 20)))
    monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 400)
    filters = warnings.filters
    with open_picture(path) as picture:
        assert warnings.filters is filters
        assert picture.size == (30, 20)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM"])
def test_no_format_is_opened_with_a_warning(kind, monkeypatch):
    file = io.BytesIO()
    plain(size=(30, 20)).save(file, kind)
    monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 400)
    assert read_image(file.getvalue()).rgb.shape == (3, 20, 30)


def test_hard_limit_of_pillow_becomes_an_image_error(save, monkeypatch):
    path = save(plain(size=(30, 20)))
    monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"x\.png.*30×20 = 600 pixels .* limit of 200; shrink"):
        read_image(path)


def test_to_uint8_rounds_and_clamps():
    values = torch.tensor([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0, 1.3])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_byte_survives_the_round_trip(dtype):
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(values).to(dtype)), values)


def test_from_uint8_refuses_floats():
    with pytest.raises(InputError, match="float32"):
        from_uint8(torch.zeros(3))


def test_write_png_round_trips_with_alpha(tmp_path):
    rgba = torch.rand(4, 5, 7)
    path = tmp_path / "deep" / "down" / "x.png"
    write_png(path, rgba[:3], rgba[3:])
    image = read_image(path)
    assert (image.rgb - rgba[:3]).abs().max() <= 0.5 / 255 + 1e-6
    assert (image.alpha - rgba[3:]).abs().max() <= 0.5 / 255 + 1e-6
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("rgb", "alpha", "message"),
    [
        (torch.zeros(1, 3, 2, 2), None, r"\(1, 3, 2, 2\); expected 3×H×W"),
        (torch.zeros(3, 0, 2), None, r"\(3, 0, 2\)"),
        (torch.zeros(3, 2, 2), torch.zeros(2, 2), r"expected \(1, 2, 2\)"),
        (torch.full((3, 2, 2), torch.nan), None, "NaN"),
        (torch.zeros(3, 2, 2), torch.full((1, 2, 2), torch.inf), "alpha is torch.float32 or"),
        (torch.zeros(3, 2, 2, dtype=torch.int32), None, "int32 or holds"),
        (torch.zeros(3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8), "or uint8 of both"),
    ],
)
def test_write_png_refuses_wrong_tensors(tmp_path, rgb, alpha, message):
    with pytest.raises(InputError, match=message):
        write_png(tmp_path / "x.png", rgb, alpha)
    assert list(tmp_path.iterdir()) == []


def test_write_png_takes_8_bits_as_they_are(tmp_path):
    rgba = torch.randint(0, 256, (4, 5, 7), dtype=torch.uint8)
    write_png(tmp_path / "x.png", rgba[:3], rgba[3:])
    image = read_image(tmp_path / "x.png")
    assert torch.equal(torch.cat([image.pixels, image.opacity]), rgba)


def test_write_png_names_the_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"cannot write .*x\.png"):
        write_png(tmp_path / "file" / "x.png", torch.zeros(3, 2, 2))


def test_load_batch_keeps_pixels_of_the_right_size(save):
    image = torch.rand(3, 8, 8)
    path = save(to_picture(image))
    assert torch.equal(load_batch([path], 8, crop=True)[0], from_uint8(to_uint8(image)))


def test_load_batch_crops_the_center_or_takes_the_whole(save):
    picture = plain(color=(0, 0, 0), size=(48, 16))
    picture.paste((255, 255, 255), (16, 0, 32, 16))
    path = save(picture)
    cropped = load_batch([path, path], 16, crop=True)
    assert cropped.shape == (2, 3, 16, 16)
    assert cropped.min() == 1
    whole = load_batch([path], 16, crop=False)
    assert whole[0, :, 8, 0].max() == 0
    assert whole[0, :, 8, 8].min() == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 30), st.booleans())
def test_load_batch_always_gives_the_size(tmp_path_factory, width, height, size, crop):
    path = tmp_path_factory.getbasetemp() / "any.bmp"
    plain(size=(width, height)).save(path)
    assert load_batch([path], size, crop=crop).shape == (1, 3, size, size)


@pytest.mark.parametrize(("paths", "size"), [([], 8), (["x.png"], 0)])
def test_load_batch_refuses_nothing(paths, size):
    with pytest.raises(InputError, match=f"got {len(paths)} and {size}"):
        load_batch(paths, size, crop=True)


def test_load_batch_refuses_what_would_grow_without_bounds(save):
    path = save(plain(size=(1, 65000)))
    with pytest.raises(ImageError, match=r"1×65000 pixels would become 224×14560000.*crop it"):
        load_batch([path], 224, crop=True)
    assert load_batch([path], 8, crop=False).shape == (1, 3, 8, 8)
    assert load_batch([path], 8, crop=True).shape == (1, 3, 8, 8)
