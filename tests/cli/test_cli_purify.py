import io
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify.cli import main
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.lock import alone
from nrpurify.defenses import make
from nrpurify.purifiers import DEFAULT, build_purifier, load_purifier, save_purifier


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
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "manifest.jsonl"]
    assert summary["purifier_sha256"] == load_purifier(tiny_file).card.sha256


def pixels_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.*g")}


def test_finished_outputs_are_kept_and_others_made_again(run, photos, photo, tmp_path, tiny_file):
    out = tmp_path / "out"
    args = ("purify", photos, out, "--purifier", tiny_file)
    assert "2 purified, 0 kept" in run(*args)[2]
    before = pixels_of(out)
    assert "0 purified, 2 kept" in run(*args)[2]
    (out / "a.png").write_bytes(b"half")
    assert "1 purified, 1 kept" in run(*args)[2]
    assert pixels_of(out) == before
    photo(photos / "a.png", 9)
    assert "1 purified, 1 kept" in run(*args)[2]
    assert pixels_of(out) != before
    assert "2 purified, 0 kept" in run(*args, "--overwrite")[2]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--defense", "jpeg"), ("defense was None, is 'jpeg'", "purifier was")),
        (("--purifier", "TINY", "--mode", "dynamic"), ("mode was 'static', is 'dynamic'",)),
        (("--purifier", "TINY", "--seed", "1"), ("seed was 0, is 1",)),
        (("--purifier", "TINY", "--format", "webp"), ("format was 'png', is 'webp'",)),
    ],
)
def test_other_settings_are_an_error_unless_overwrite(
    run, photos, tmp_path, tiny_file, extra, words
):
    out, extra = tmp_path / "out", [tiny_file if text == "TINY" else text for text in extra]
    assert run("purify", photos, out, "--purifier", tiny_file)[0] == 0
    before = pixels_of(out)
    code, _, err = run("purify", photos, out, *extra)
    assert code == 2
    assert "were made with other settings" in err
    assert all(text in err for text in words)
    assert pixels_of(out) == before
    assert "2 purified" in run("purify", photos, out, *extra, "--overwrite")[2]
    assert "2 kept" in run("purify", photos, out, *extra)[2]
    suffix = "webp" if "webp" in extra else "png"
    assert sorted(path.suffix[1:] for path in out.iterdir()) == ["jsonl", suffix, suffix]


def test_another_checkpoint_under_the_same_name_is_another_setting(run, photos, tmp_path):
    file = tmp_path / "mine.safetensors"
    save_purifier(build_purifier("micro"), file)
    args = ("purify", photos, tmp_path / "out", "--defense", f"jpeg+{file}")
    assert run(*args)[0] == 0
    save_purifier(build_purifier("micro"), file)
    code, _, err = run(*args)
    assert code == 2
    assert "state_sha256 was" in err


def test_files_that_no_manifest_lists_are_never_replaced(run, photos, tmp_path, tiny_file):
    mine = tmp_path / "out" / "a.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    for extra in ((), ("--overwrite",)):
        args = ("purify", photos, tmp_path / "out", "--purifier", tiny_file, *extra)
        code, _, err = run(*args)
        assert code == 2
        assert "is there already and no manifest of nrpurify lists it, so not even" in err
        assert mine.read_bytes() == b"mine"
    assert [path.name for path in mine.parent.iterdir()] == ["a.png"]


def test_equal_names_from_another_folder_are_an_error_unless_overwrite(
    run, photo, tmp_path, tiny_file
):
    photo(tmp_path / "A" / "x.png", 0)
    photo(tmp_path / "B" / "x.png", 1)
    args = ("out", "--purifier", tiny_file)
    one, two = (("purify", tmp_path / name, tmp_path / "o", *args[1:]) for name in "AB")
    assert run(*one)[0] == 0
    before = pixels_of(tmp_path / "o")
    code, _, err = run(*two)
    assert code == 2
    assert "was made from '../A/x.png'" in err
    assert pixels_of(tmp_path / "o") == before
    assert run(*two, "--overwrite")[0] == 0
    assert pixels_of(tmp_path / "o") != before
    (tmp_path / "B").rename(tmp_path / "C")  # the same photos in another place
    assert "1 kept" in run("purify", tmp_path / "C", tmp_path / "o", *args[1:])[2]


def test_names_of_outputs_do_not_change_when_files_are_added(run, photo, tmp_path, tiny_file):
    photo(tmp_path / "in" / "x.jpg", 0)
    args = ("purify", tmp_path / "in", tmp_path / "o", "--purifier", tiny_file)
    assert run(*args)[0] == 0
    photo(tmp_path / "in" / "x.png", 1)
    assert "1 purified, 1 kept" in run(*args)[2]
    assert set(pixels_of(tmp_path / "o")) == {"x.png", "x.png.png"}
    assert "0 purified, 2 kept" in run(*args)[2]
    single = ("purify", tmp_path / "in" / "x.png", tmp_path / "p", "--purifier", tiny_file)
    assert run("purify", tmp_path / "in" / "x.jpg", *single[2:])[0] == 0
    assert run(*single)[0] == 0  # x.png of x.jpg is not taken for the output of x.png
    assert set(pixels_of(tmp_path / "p")) == {"x.png", "x.png.png"}


def test_outputs_are_no_sources_of_the_next_run(run, photo, tmp_path, tiny_file):
    photo(tmp_path / "own" / "x.jpg")
    args = ("purify", tmp_path / "own", tmp_path / "own", "--purifier", tiny_file)
    assert "1 purified" in run(*args)[2]
    code, _, err = run(*args)
    assert code == 0
    assert "0 purified, 1 kept" in err
    assert "1 of its images are outputs of this job" in err
    assert set(pixels_of(tmp_path / "own")) == {"x.jpg", "x.png"}


def test_a_kill_leaves_no_output_that_the_next_run_refuses(
    run, photos, tmp_path, tiny_file, monkeypatch
):
    args = ("purify", photos, tmp_path / "out", "--purifier", tiny_file, "-r")
    assert run(*args)[0] == 0
    whole = {**pixels_of(tmp_path / "out"), "m": (tmp_path / "out/manifest.jsonl").read_bytes()}

    def killed(*_, **__):
        raise KeyboardInterrupt

    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("nrpurify.core.manifest.Manifest.record_all", killed)
        assert run(*args)[0] == 130
    with (tmp_path / "out" / "manifest.jsonl").open("a") as file:
        file.write('{"output": "half')
    assert "3 purified" in run(*args)[2]
    found = {**pixels_of(tmp_path / "out"), "m": (tmp_path / "out/manifest.jsonl").read_bytes()}
    assert found == whole


def test_one_bad_file_ends_nothing(run, photos, photo, tmp_path, tiny_file):
    photo(photos / f"{'n' * 251}.png")
    photo(photos / f"{'n' * 251}.jpg")
    photo(photos / "d.png")
    (photos / "gone.png").symlink_to("nowhere")
    os.mkfifo(photos / "pipe.png")
    (tmp_path / "out" / "d.png").mkdir(parents=True)
    code, text, err = run("purify", photos, tmp_path / "out", "--purifier", tiny_file, "--json")
    assert code == 1
    assert "2 purified, 0 kept, 5 failed" in err
    reasons = " ".join(item["reason"] for item in json.loads(text)["failed"])
    for words in ("too long", "a folder of that name is there", "a link to nothing", "not a reg"):
        assert words in reasons
    assert [Path(name).name for name in json.loads(text)["outputs"]] == ["a.png", "b.png"]


def test_any_error_of_a_defense_fails_its_file_alone(run, photos, photo, tmp_path):
    photo(photos / "wide.png", height=2, width=65_501)
    code, _, err = run("purify", photos, tmp_path / "out", "--defense", "jpeg")
    assert code == 1
    assert "2 purified, 0 kept, 1 failed" in err
    assert "JPEG has sides of at most 65500 pixels, got 65501×2" in err


def test_several_sources_and_the_last_argument(run, photos, photo, tmp_path, tiny_file):
    args = ("--purifier", tiny_file)
    out = tmp_path / "out"
    code, _, err = run("purify", photos / "a.png", photos / "b.jpg", f"{out}/", *args)
    assert code == 0
    assert "2 purified, 0 kept, 0 failed in" in err
    assert f": {out}" in err
    assert set(pixels_of(out)) == {"a.png", "b.png"}
    before = pixels_of(photos)
    for paths in ((photos / "a.png",), (photos / "sub", photos / "a.png", photos / "b.jpg")):
        code, _, err = run("purify", *paths, *args, "--overwrite")
        assert code == 2
        assert "expected sources and then a destination" in err
    code, _, err = run("purify", photos / "a.png", photos / "b.jpg", tmp_path / "x.png", *args)
    assert code == 2
    assert "names one file" in err
    photo(tmp_path / "other" / "a.png")
    both = (photos / "a.png", tmp_path / "other" / "a.png")
    code, _, err = run("purify", *both, tmp_path / "new", *args)
    assert code == 2
    assert "would both become" in err
    assert pixels_of(photos) == before


def test_one_bad_source_of_several_ends_nothing(run, photos, tmp_path):
    (photos / "gone.png").symlink_to("nowhere")
    (photos / "again").symlink_to(photos)
    os.mkfifo(photos / "pipe")
    out, median = tmp_path / "out", ("--defense", "median")
    bad = (photos / "gone.png", photos / "pipe", tmp_path / "nothere")
    sources = (photos / "a.png", *bad, photos / "again")
    code, text, err = run("purify", *sources, f"{out}/", *median, "--json")
    assert code == 1
    assert "2 purified, 0 kept, 4 failed" in err  # again holds gone.png, and a.png once more
    reasons = " ".join(item["reason"] for item in json.loads(text)["failed"])
    for words in ("is a link to nothing", "is not a regular file", "does not exist"):
        assert words in reasons
    code, _, err = run("purify", *bad, f"{out}/", *median)
    assert code == 2
    assert "none of the 3 sources has an image" in err


@pytest.mark.parametrize("command", ["purify", "attack"])
def test_two_runs_in_one_folder_at_once(run, photos, tmp_path, command):
    settings = ("--defense", "median") if command == "purify" else ("--name", "noise")
    args = (command, photos, tmp_path / "out", *settings)
    with alone(tmp_path / "out"):
        code, _, err = run(*args)
        assert code == 2
        assert "another run of nrpurify writes to" in err
        assert list((tmp_path / "out").iterdir()) == []
    assert run(*args)[0] == 0


@pytest.mark.parametrize(
    ("name", "extra", "kind"),
    [
        ("x.webp", (), "WEBP"),
        ("x.JPG", (), "JPEG"),
        ("x.jpeg", ("--format", "jpeg"), "JPEG"),
        ("out/a.webp", ("--format", "webp"), "WEBP"),
        ("out/a.jpg", ("--format", "jpeg"), "JPEG"),
    ],
)
def test_formats_of_outputs(run, photos, tmp_path, tiny_file, name, extra, kind):
    target = tmp_path / name
    dst = target.parent if target.parent != tmp_path else target
    code, _, err = run("purify", photos / "a.png", dst, "--purifier", tiny_file, *extra)
    assert code == 0
    assert ("JPEG changes the purified values" in err) == (kind == "JPEG")
    with Image.open(target) as picture:
        assert picture.format == kind
        found = np.array(picture).astype(int)
    assert run("purify", photos / "a.png", tmp_path / "p.png", "--purifier", tiny_file)[0] == 0
    assert abs(found - read(tmp_path / "p.png")).max() <= (30 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    ("dst", "extra", "message"),
    [
        ("x.bmp", (), "expected a name in .jpeg, .jpg, .png, .webp"),
        ("x.tar", (), "expected a name in .jpeg, .jpg, .png, .webp"),
        ("x", ("--address", "h:1"), "--address is of a Ray cluster; give --engine ray with it"),
        ("x.png", ("--format", "webp"), "differ"),
        ("-", ("--json",), "--json too"),
    ],
)
def test_destinations_that_cannot_be(run, photos, tmp_path, tiny_file, dst, extra, message):
    dst = dst if dst == "-" else tmp_path / dst
    code, _, err = run("purify", photos / "a.png", dst, "--purifier", tiny_file, *extra)
    assert code == 2
    assert message in err


def test_a_tar_file_does_not_become_an_image(run, photos, tmp_path, tiny_file):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(photos / "a.png", "a.png")
    code, _, err = run("purify", tmp_path / "x.tar", tmp_path / "y.png", "--purifier", tiny_file)
    assert code == 2
    assert "expected a name in .tar" in err


def test_standard_input_and_output(photos, tmp_path, tiny_file, monkeypatch, capsysbinary):
    args = ["--purifier", tiny_file]
    assert main(["purify", str(photos / "a.png"), str(tmp_path / "x.png"), *args]) == 0
    expected = read(tmp_path / "x.png")
    for paths, kind in ((["-", "-"], "PNG"), ([str(photos / "a.png"), "-"], "WEBP")):
        stdin = io.TextIOWrapper(io.BytesIO((photos / "a.png").read_bytes()))
        monkeypatch.setattr(sys, "stdin", stdin)
        capsysbinary.readouterr()
        assert main(["purify", *paths, *args, "--format", kind.lower()]) == 0
        out, err = capsysbinary.readouterr()
        assert b"1 purified" in err
        assert b": standard output" in err
        with Image.open(io.BytesIO(out)) as picture:
            assert picture.format == kind
            assert (np.array(picture) == expected).all()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no image")))
    assert main(["purify", "-", str(tmp_path / "y.png"), *args]) == 1
    assert b"standard input" in capsysbinary.readouterr()[1]
    assert main(["purify", "-", str(tmp_path), *args]) == 2
    assert main(["purify", str(photos), "-", *args]) == 2
    assert b"takes one image" in capsysbinary.readouterr()[1]


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
    assert set(pixels_of(out)) == {"a.jpg.png", "a.png.png"}
    assert "1 purified" in run("purify", f"{photos}/**/c*", out, "--purifier", tiny_file)[2]
    assert (out / "sub" / "c.png").is_file()


def test_one_file_into_one_file(run, photos, tmp_path, tiny_file):
    args = ("purify", photos / "b.jpg", tmp_path / "x.png", "--purifier", tiny_file)
    code, _, err = run(*args)
    assert code == 0
    assert f": {tmp_path / 'x.png'}" in err
    assert read(tmp_path / "x.png").shape == (24, 32, 3)
    assert not (tmp_path / "manifest.jsonl").exists()


def test_one_file_is_made_again_with_overwrite(run, photos, photo, tmp_path, tiny_file):
    args = ("purify", photos / "b.jpg", tmp_path / "x.png", "--purifier", tiny_file)
    assert run(*args)[0] == 0
    before = read(tmp_path / "x.png")
    photo(photos / "b.jpg", 9)
    code, _, err = run(*args)
    assert code == 2
    there = f"the destination '{tmp_path / 'x.png'}' (the last path) is there already"
    assert f"{there}; use --overwrite (in" in err
    assert (read(tmp_path / "x.png") == before).all()
    code, _, err = run(*args, "--overwrite")
    assert code == 0
    assert "1 purified" in err
    assert (read(tmp_path / "x.png") != before).any()
    source = (photos / "b.jpg").read_bytes()
    code, _, err = run("purify", photos / "b.jpg", photos / "b.jpg", *args[3:], "--overwrite")
    assert code == 2
    assert "would replace a source image" in err
    assert (photos / "b.jpg").read_bytes() == source
    (tmp_path / "note.txt").write_text("mine")
    code, _, err = run("purify", photos / "b.jpg", tmp_path / "note.txt", "--overwrite")
    assert code == 2
    assert (tmp_path / "note.txt").read_text() == "mine"


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
    assert "is a file; expected a folder for the outputs" in err
    inside = run("purify", photos, tmp_path / "note.txt" / "out", "--purifier", tiny_file)
    assert inside[0] == 2
    assert "cannot write a manifest" in inside[2]
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
    assert re.search(rf"default: \(?{DEFAULT}\)?\]", run(command, "--help")[1])


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


def test_large_images_and_animations_are_refused_or_read(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)  # which the command raises
    frames = [Image.new("L", (16, 16), value) for value in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    code, _, err = run("purify", tmp_path, tmp_path / "out", "--defense", "none")
    assert code == 1
    assert "a.gif': it has several frames or pages" in err
    args = ("purify", tmp_path, tmp_path / "out", "--defense", "none", "--frames", "first")
    for limit in (255, 100):
        code, _, err = run(*args, "--max-pixels", limit)
        assert code == 1
        assert f"16×16 = 256 pixels are more than the limit of {limit}; shrink it or raise" in err
    assert run(*args, "--max-pixels", 256)[0] == 0
    assert read(tmp_path / "out" / "a.png").max() == 0


def test_a_tar_of_images(run, photos, tmp_path, tiny_file):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(photos / "a.png", "a.png")
        archive.add(photos / "b.jpg", "b.jpg")
    args = ("--purifier", tiny_file, "--json")
    code, text, err = run("purify", tmp_path / "x.tar", tmp_path / "y.tar", *args)
    assert code == 0
    assert "1 purified, 0 kept, 2 images inside, 0 failed" in err
    assert json.loads(text)["parts"] == 2
    with tarfile.open(tmp_path / "y.tar") as archive:
        assert archive.getnames() == ["a.png", "b.png"]


@pytest.mark.parametrize("command", ["purify", "attack"])
def test_an_empty_path_is_not_this_folder(run, photos, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    options = (photos, tmp_path / "out", "--labels", ""), (photos, tmp_path / "out", "--labels=")
    for words in (("", tmp_path / "out"), (photos, ""), *options):
        code, _, err = run(command, *words)
        assert code == 2
        assert "is empty; expected a name, such as . for this folder" in err
    assert not list(tmp_path.glob("*.jsonl"))
