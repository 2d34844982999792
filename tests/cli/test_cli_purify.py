import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify.defenses import make
from nrpurify.images import from_uint8, to_uint8
from nrpurify.purifiers import DEFAULT, load_purifier


def smooth(height=24, width=32, channels=3):
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([4 * y + 3 * x, 200 - 4 * y + x, 60 + 2 * x, 255 - 3 * x - 3 * y], axis=-1)
    return ramps[..., :channels].squeeze().astype(np.uint8)


def read(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.array(picture).astype(int)


def purified(file, picture):
    images = from_uint8(torch.from_numpy(picture.copy())).permute(2, 0, 1)[None]
    return to_uint8(load_purifier(file).purify(images)[0]).permute(1, 2, 0).numpy().astype(int)


def write_formats(folder):
    """Files in many formats, with the upright pixels that must come out (nearly)."""
    folder.mkdir()
    rgb, grey = smooth(), smooth(channels=1)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(smooth(channels=4)).save(folder / "alpha.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    palette = Image.fromarray(rgb).quantize(16)
    palette.save(folder / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.rot90(rgb))
    turned.save(folder / "turned.jpg", exif=exif, quality=100, subsampling=0)
    stacked = np.stack([grey] * 3, -1)
    return {
        "grey": stacked,
        "alpha": smooth(channels=4),
        "deep": stacked,
        "palette": np.array(palette.convert("RGB")),
        "turned": rgb,
    }


def test_formats(run, tmp_path, tiny_file):
    expected = write_formats(tmp_path / "in")
    args = ("--purifier", tiny_file, "--amp", "off")
    code, _, err = run("purify", tmp_path / "in", tmp_path / "out", *args)
    assert code == 0
    assert "5 purified, 0 kept, 0 failed" in err
    for name, picture in expected.items():
        found = read(tmp_path / "out" / f"{name}.png")
        assert found.shape == picture.shape
        wanted = purified(tiny_file, picture[..., :3])
        assert abs(found[..., :3] - wanted).max() <= (12 if name == "turned" else 0)
    alpha = read(tmp_path / "out" / "alpha.png")[..., 3]
    assert (alpha == expected["alpha"][..., 3]).all()


def test_broken_files_are_listed_and_the_others_done(run, photos, tmp_path, tiny_file):
    (photos / "broken.png").write_bytes(b"no image")
    (photos / "b.jpg").write_bytes((photos / "b.jpg").read_bytes()[:200])
    out = tmp_path / "out"
    code, text, err = run("purify", photos, out, "--purifier", tiny_file, "--json")
    assert code == 1
    summary = json.loads(text)
    assert (summary["done"], summary["skipped"]) == (1, 0)
    assert [Path(f["source"]).name for f in summary["failed"]] == ["b.jpg", "broken.png"]
    assert "1 purified, 0 kept, 2 failed" in err
    assert all(failure["reason"] in err for failure in summary["failed"])
    assert [path.name for path in out.iterdir()] == ["a.png"]
    assert summary["purifier_sha256"] == load_purifier(tiny_file).card.sha256


def test_outputs_are_kept_unless_overwrite(run, photos, tmp_path, tiny_file):
    kept = tmp_path / "out" / "a.png"
    kept.parent.mkdir()
    kept.write_bytes(b"mine")
    args = ("purify", photos, tmp_path / "out", "--purifier", tiny_file)
    code, _, err = run(*args)
    assert code == 0
    assert "1 purified, 1 kept" in err
    assert kept.read_bytes() == b"mine"
    assert "2 purified, 0 kept" in run(*args, "--overwrite")[2]
    assert read(kept).shape == (24, 32, 3)


def test_recursive_keeps_structure_and_leaves_outputs_alone(run, photos, tiny_file):
    out = photos / "out"
    args = ("purify", photos, out, "--purifier", tiny_file, "--recursive")
    assert "3 purified" in run(*args)[2]
    assert (out / "sub" / "c.png").is_file()
    assert "0 purified, 3 kept" in run(*args)[2]


def test_a_glob_and_names_that_collide(run, photos, photo, tmp_path, tiny_file):
    photo(photos / "a.jpg")
    out = tmp_path / "out"
    assert run("purify", f"{photos}/a.*", out, "--purifier", tiny_file)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg.png", "a.png.png"]
    assert "1 purified" in run("purify", f"{photos}/**/c*", out, "--purifier", tiny_file)[2]
    assert (out / "sub" / "c.png").is_file()


def test_one_file_into_one_file(run, photos, tmp_path, tiny_file):
    args = ("purify", photos / "b.jpg", tmp_path / "x.png", "--purifier", tiny_file)
    assert run(*args)[0] == 0
    assert read(tmp_path / "x.png").shape == (24, 32, 3)
    assert "1 kept" in run(*args)[2]


def test_sources_are_never_replaced(run, photos, tiny_file):
    before = (photos / "a.png").read_bytes()
    code, _, err = run("purify", photos, photos, "--overwrite", "--purifier", tiny_file)
    assert code == 2
    assert "would replace a source image" in err
    assert (photos / "a.png").read_bytes() == before


def test_a_destination_that_is_a_file(run, photos, tmp_path, tiny_file):
    (tmp_path / "note.txt").write_text("mine")
    code, _, err = run("purify", photos, tmp_path / "note.txt", "--purifier", tiny_file)
    assert code == 2
    assert "is a file; expected a folder" in err
    inside = run("purify", photos, tmp_path / "note.txt" / "out", "--purifier", tiny_file)
    assert inside[0] == 1
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_tiles_give_the_same_picture(run, photo, tmp_path, tiny_file):
    source = photo(tmp_path / "large.png", height=300, width=500)
    for name, tile in (("whole", 512), ("tiled", 64)):
        args = ("--purifier", tiny_file, "--tile", tile, "--amp", "off")
        assert run("purify", source, tmp_path / f"{name}.png", *args)[0] == 0
    assert abs(read(tmp_path / "whole.png") - read(tmp_path / "tiled.png")).max() <= 1


def test_dynamic_mode_depends_on_seed_and_name_alone(run, photos, tmp_path, tiny_file):
    def purified(folder, source, seed):
        args = ("--purifier", tiny_file, "--mode", "dynamic", "--seed", seed)
        assert run("purify", source, tmp_path / folder, *args)[0] == 0
        return read(tmp_path / folder / "b.png")

    first = purified("1", photos, 0)
    assert (purified("2", photos / "b.jpg", 0) == first).all()
    assert (purified("3", photos, 1) != first).any()


def test_an_unknown_purifier(run, photos, tmp_path):
    code, _, err = run("purify", photos, tmp_path / "out", "--purifier", "fats")
    assert code == 2
    assert "no purifier 'fats'" in err


def test_only_outputs_in_the_source(run, photo, tmp_path, tiny_file):
    photo(tmp_path / "in" / "out" / "a.png")
    args = ("--recursive", "--purifier", tiny_file)
    code, _, err = run("purify", tmp_path / "in", tmp_path / "in" / "out", *args)
    assert code == 2
    assert "no image but those in" in err


@pytest.mark.parametrize("command", ["purify", "evaluate"])
def test_the_default_purifier_is_the_library_s(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    assert f"default: {DEFAULT}]" in run(command, "--help")[1]


def test_any_defense_by_its_spec(run, photos, tmp_path, tiny_file):
    out = tmp_path / "out"
    spec = f"jpeg:quality=50+{tiny_file}"
    code, text, _ = run(
        "purify", photos / "a.png", out, "--defense", spec, "--amp", "off", "--json"
    )
    assert code == 0
    summary = json.loads(text)
    assert summary["defense"] == spec
    assert [link["name"] for link in summary["settings"]] == ["jpeg", tiny_file]
    assert "mode" not in summary
    source = from_uint8(torch.from_numpy(read(photos / "a.png").astype(np.uint8)))
    defended = make(spec)(source.permute(2, 0, 1)[None])[0]
    assert (read(out / "a.png") == to_uint8(defended).permute(1, 2, 0).numpy()).all()


def test_a_random_defense_depends_on_seed_and_name_alone(run, photos, tmp_path):
    def defended(folder, source, seed):
        args = ("--defense", "noise", "--seed", seed)
        assert run("purify", source, tmp_path / folder, *args)[0] == 0
        return read(tmp_path / folder / "b.png")

    first = defended("1", photos, 0)
    assert (defended("2", photos / "b.jpg", 0) == first).all()
    assert (defended("3", photos, 1) != first).any()


def test_transparency_follows_a_new_size(run, tmp_path):
    alpha = np.zeros((20, 20), np.uint8)
    alpha[:10] = 255
    Image.fromarray(np.dstack([smooth(20, 20), alpha])).save(tmp_path / "a.png")
    args = ("--defense", "rp:low=38,high=40")
    assert run("purify", tmp_path / "a.png", tmp_path / "b.png", *args)[0] == 0
    found = read(tmp_path / "b.png")
    assert found.shape == (40, 40, 4)
    opaque = found[..., 3] == 255
    left, right = np.flatnonzero(opaque.any(0))[[0, -1]]
    assert right - left + 1 in (38, 39)  # where the image was placed
    assert (opaque.sum() == np.array([38 * 19, 39 * 19, 39 * 20])).any()
    assert not found[~opaque, 3].any()


def test_an_image_that_a_defense_cannot_take_fails_alone(run, photos, photo, tmp_path):
    photo(photos / "thin.png", height=1)
    code, _, err = run("purify", photos, tmp_path / "out", "--defense", "median")
    assert code == 1
    assert "2 purified, 0 kept, 1 failed" in err
    assert "takes sides above 1" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--purifier", "fast"), "--defense and --purifier were both given"),
        (("--mode", "dynamic"), "--defense and --mode were both given"),
        (("--defense", "noise:seed=1"), "give the seed of files by --seed"),
        (("--defense", "noize"), "no defense 'noize'; did you mean noise"),
    ],
)
def test_defenses_that_cannot_be_used(run, photos, tmp_path, options, message):
    code, _, err = run("purify", photos, tmp_path / "out", "--defense", "jpeg", *options)
    assert code == 2
    assert message in err
