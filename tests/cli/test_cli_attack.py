import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify import weights
from nrpurify.attacks.runner import AttackRunner
from nrpurify.batch import AttackOptions, read_records
from nrpurify.batch import attack as attack_module
from nrpurify.core.image_tensors import load_image_tensor
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.models import features

pytestmark = pytest.mark.usefixtures("random_weights")
QUICK = ("--steps", 2, "--layer", "conv1_2", "--amp", "off")


def read(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.array(picture).astype(int)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def manifest(folder):
    """The head of the manifest in ``folder``, with its files."""
    records = read_records(folder)
    return {**records.head(), "files": records.files}


def test_attack_stays_in_its_budget_and_tells_everything(run, photos, tmp_path):
    out = tmp_path / "out"
    code, text, err = run(
        "attack", photos, out, *QUICK, "--eps", "8/255", "--step-size", "4/255", "-r", "--json"
    )
    assert code == 0
    assert "greatest change in the 8-bit files: 8.00/255" in err
    summary, found = json.loads(text), manifest(out)
    assert (summary["done"], summary["failed"]) == (3, [])
    assert summary["linf"] == pytest.approx(8 / 255, abs=1e-6)
    settings = found["settings"]
    assert settings["eps"] == 8 / 255
    assert settings["step_size"] == 4 / 255
    assert settings["layers"] == ["conv1_2"]
    assert (settings["steps"], settings["seed"], settings["precision"]) == (2, 0, "fp32")
    assert set(found["versions"]) == {"nrpurify", "torch"}
    assert list(found["files"]) == ["a.png", "b.png", "sub/c.png"]
    entry = found["files"]["b.png"]
    assert entry["source"] == "b.jpg"
    assert entry["sha256"] == weights.file_hash(out / "b.png")
    change = abs(read(out / "a.png") - read(photos / "a.png"))
    assert change.max() == 8
    assert found["files"]["a.png"]["linf"] == pytest.approx(8 / 255, abs=1e-6)


def test_a_limit_takes_the_first_and_counts_the_others(run, photos, tmp_path):
    out = tmp_path / "out"
    code, text, err = run("attack", photos, out, *QUICK, "-r", "--limit", 2, "--json")
    assert code == 0
    assert "the first 2 of 3 images are attacked" in err
    assert json.loads(text)["done"] == 2
    first = contents(out)
    assert {str(path) for path in first} == {"a.png", "b.png", "manifest.jsonl"}
    code, text, _ = run("attack", photos, out, *QUICK, "-r", "--json")
    summary = json.loads(text)
    assert (code, summary["done"], summary["skipped"]) == (0, 1, 2)
    whole = tmp_path / "whole"
    assert run("attack", photos, whole, *QUICK, "-r")[0] == 0
    pngs = {path: data for path, data in contents(whole).items() if path.suffix == ".png"}
    assert pngs == {p: data for p, data in contents(out).items() if p.suffix == ".png"}


def test_the_weights_hash_is_noted(run, photos, tmp_path, monkeypatch):
    file = tmp_path / "vgg16.safetensors"
    file.write_bytes(b"weights")
    monkeypatch.setattr("nrpurify.weights.store.cached", lambda name: file)
    assert run("attack", photos, tmp_path / "out", *QUICK)[0] == 0
    assert manifest(tmp_path / "out")["weights_sha256"] == {"vgg16": weights.file_hash(file)}


def test_alpha_is_kept(run, tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert run("attack", tmp_path / "a.png", tmp_path / "out", *QUICK)[0] == 0
    attacked = read(tmp_path / "out" / "a.png")
    assert (attacked[..., 3] == rgba[..., 3]).all()
    assert (attacked[..., :3] != rgba[..., :3]).any()


def interrupt_after(monkeypatch, count):
    """Let the files after the first ``count`` raise KeyboardInterrupt when they are read."""
    original, seen = attack_module.read_image, []

    def read_image(path, **options):
        if len(seen) == count:
            raise KeyboardInterrupt
        seen.append(path)
        return original(path, **options)

    monkeypatch.setattr(attack_module, "read_image", read_image)


@pytest.mark.parametrize("group", [1, 2])
def test_an_interrupted_run_resumes_to_the_same_bytes(
    run, photos, photo, tmp_path, monkeypatch, group
):
    photo(photos / "d.png", 7)
    args = (*QUICK, "--recursive", "--group", group)
    assert run("attack", photos, tmp_path / "whole", *args)[0] == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        assert run("attack", photos, tmp_path / "parts", *args)[0] == 130
    assert 0 < len(manifest(tmp_path / "parts")["files"]) < 4
    code, _, err = run("attack", photos, tmp_path / "parts", *args)
    assert code == 0
    assert f"{4 - 3 // group * group} attacked, {3 // group * group} kept" in err
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_batches_of_equal_sizes_give_the_same_as_single_images(run, photos, photo, tmp_path):
    photo(photos / "d.png", 7, height=20)
    for batch in (1, 4):
        args = (*QUICK, "--recursive", "--batch", batch)
        assert run("attack", photos, tmp_path / f"{batch}", *args)[0] == 0
    for name in ("a.png", "b.png", "d.png", "sub/c.png"):
        same = read(tmp_path / "1" / name) == read(tmp_path / "4" / name)
        assert same.mean() > 0.99


def test_seed_and_preset_change_the_result(run, photos, tmp_path):
    for name, extra in (("0", ()), ("1", ("--seed", 1)), ("a", ("--preset", "authors"))):
        assert run("attack", photos / "a.png", tmp_path / name, *QUICK, *extra)[0] == 0
    pictures = [read(tmp_path / name / "a.png") for name in ("0", "1", "a")]
    assert (pictures[0] != pictures[1]).any()
    assert (pictures[0] != pictures[2]).any()
    assert manifest(tmp_path / "a")["settings"]["start"] == "gaussian"


def test_other_settings_are_an_error_unless_overwrite(run, photos, tmp_path):
    args = ("attack", photos, tmp_path / "out", *QUICK)
    assert run(*args)[0] == 0
    before = contents(tmp_path / "out")
    code, _, err = run(*args, "--eps", "0.02", "--seed", 3)
    assert code == 2
    assert "eps was 16/255, is 0.02" in err
    assert "seed was 0, is 3" in err
    assert "--overwrite" in err
    assert contents(tmp_path / "out") == before
    assert run(*args, "--eps", "0.02", "--overwrite")[0] == 0
    assert manifest(tmp_path / "out")["settings"]["eps"] == 0.02


def test_changed_files_are_made_again(run, photos, photo, tmp_path):
    args = ("attack", photos, tmp_path / "out", *QUICK)
    run(*args)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "a.png").write_bytes(b"half")
    assert "1 attacked, 1 kept" in run(*args)[2]
    assert contents(tmp_path / "out") == before
    photo(photos / "a.png", 9)
    assert "1 attacked, 1 kept" in run(*args)[2]


@pytest.mark.parametrize("extra", [(), ("--overwrite",), ("--save-tensors",)])
def test_images_without_a_manifest_are_left_alone(run, photos, tmp_path, extra):
    mine = tmp_path / "out" / ("a.safetensors" if "--save-tensors" in extra else "a.png")
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    code, _, err = run("attack", photos, tmp_path / "out", *QUICK, *extra)
    assert code == 2
    assert "there already" in err
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "text", ["[]\n", "{\n", '{"id": 1}\n', '{"output": "a.png"}\n', "[" * 9999]
)
def test_a_foreign_manifest(run, photos, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.jsonl").write_text(text + "\n")
    code, _, err = run("attack", photos, tmp_path / "out", *QUICK)
    assert code == 2
    assert "is not a manifest of nrpurify" in err
    assert (tmp_path / "out" / "manifest.jsonl").read_text() == text + "\n"


def test_the_manifest_of_version_0_1_0_is_continued(run, photos, tmp_path):
    args = ("attack", photos, tmp_path / "out", *QUICK)
    assert run(*args)[0] == 0
    found = manifest(tmp_path / "out")
    for entry in found["files"].values():
        del entry["run"], entry["path"]
    (tmp_path / "out" / "manifest.jsonl").unlink()
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(found))
    code, _, err = run(*args, "--seed", 1)
    assert code == 2
    assert "seed was 0, is 1" in err
    assert "0 attacked, 2 kept" in run(*args)[2]
    assert set(manifest(tmp_path / "out")["files"]) == {"a.png", "b.png"}
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_manifest_json_of_another_program_is_left_alone(run, photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text('{"name": "web app"}')
    assert run("attack", photos, tmp_path / "out", *QUICK)[0] == 0
    assert (tmp_path / "out" / "manifest.json").read_text() == '{"name": "web app"}'


def test_broken_and_too_small_files_are_listed(run, photos, photo, tmp_path):
    (photos / "broken.png").write_bytes(b"no image")
    photo(photos / "dot.png", height=1, width=1)
    code, _, err = run("attack", photos, tmp_path / "out", "--steps", 1, "--layer", "conv2_1")
    assert code == 1
    assert "2 attacked, 0 kept, 2 failed" in err
    assert "broken.png" in err
    assert "dot.png" in err
    assert list(manifest(tmp_path / "out")["files"]) == ["a.png", "b.png"]


def test_an_output_that_cannot_be_written_is_listed(run, photos, tmp_path):
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    code, _, err = run("attack", photos, tmp_path / "out", *QUICK)
    assert code == 1
    assert "cannot write" in err
    assert "1 attacked, 0 kept, 1 failed" in err


def test_one_file_into_one_file(run, photos, tmp_path):
    assert run("attack", photos / "a.png", tmp_path / "x.png", *QUICK)[0] == 0
    assert [path.name for path in tmp_path.glob("x*")] == ["x.png"]
    assert not (tmp_path / "manifest.jsonl").exists()


def test_one_file_is_made_again_with_overwrite(run, photos, tmp_path):
    args = ("attack", photos / "a.png", tmp_path / "x.png", *QUICK, "--save-tensors")
    (tmp_path / "x.safetensors").write_bytes(b"mine")
    code, _, err = run(*args)
    assert code == 2
    assert f"'{tmp_path / 'x.safetensors'}' is there already; use --overwrite" in err
    assert not (tmp_path / "x.png").exists()
    assert run(*args, "--overwrite")[0] == 0
    made = contents(tmp_path)
    code, _, err = run(*args, "--eps", "8/255")
    assert code == 2
    assert f"'{tmp_path / 'x.png'}' (the last path) is there already; use --overwrite" in err
    assert contents(tmp_path) == made
    assert run(*args, "--eps", "8/255", "--overwrite")[0] == 0
    again = contents(tmp_path)
    assert {name for name in made if made[name] != again[name]} == {
        Path("x.png"),
        Path("x.safetensors"),
    }


def test_a_surrogate_without_layers_names_them(run, photos, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    code, _, err = run("attack", photos, tmp_path / "out", "--surrogate", f"{file}:build")
    assert code == 2
    assert "(--layer, in a plan layer); expected one of " in err
    assert "network.0, network.1" in err


def test_a_destination_that_cannot_be(run, photos, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("attack", photos, tmp_path / "file" / "out", *QUICK)
    assert code == 2
    assert err.startswith("nrpurify: error: ")
    for name, words in (("x.jpg", "in .png"), ("-", "is for purify")):
        code, _, err = run("attack", photos / "a.png", tmp_path / name if "." in name else "-")
        assert code == 2
        assert words in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--name", "spp"), "no attack 'spp'; did you mean ssp?"),
        (("--layer", "conv3_9"), "did you mean conv3_3"),
        (("--preset", "papr"), "no preset 'papr'"),
        (("--eps", "16"), "write 16/255"),
        (("--step-size", "2"), "--step-size is '2'"),
        (("--steps", "0"), "'--steps'"),
        (("--device", "abacus"), "--device 'abacus'"),
    ],
)
def test_bad_options(run, photos, tmp_path, args, message, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, _, err = run("attack", photos, tmp_path / "out", *args)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [{"eps": 16}, {"step_size": 0.0}, {"steps": 0}, {"batch": 0}])
def test_bad_options_of_the_library(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        AttackOptions(**bad)


def test_labels_are_not_needed(run, photos, tmp_path):
    code, _, err = run("attack", photos, tmp_path / "out", *QUICK, "--labels", "no.csv")
    assert code == 0
    assert "ssp needs no labels: no.csv is not read" in err


def test_the_default_layers(run, photo, tmp_path):
    source = photo(tmp_path / "a.png", height=64, width=64)
    for surrogate in ("vgg16", "alexnet"):
        args = ("--surrogate", surrogate, "--steps", 1)
        assert run("attack", source, tmp_path / surrogate, *args)[0] == 0
        layers = manifest(tmp_path / surrogate)["settings"]["layers"]
        assert layers == [features.default_layer(surrogate)]


def test_an_attack_that_leaves_its_budget_is_a_bug(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(AttackRunner, "__call__", lambda _, images, *__: 1 - images)
    with pytest.raises(AssertionError, match="left its box"):
        run("attack", photos, tmp_path / "out", *QUICK)


def test_floats_are_written_beside_the_pngs_and_made_up_for(run, photos, tmp_path):
    out = tmp_path / "out"
    assert run("attack", photos, out, *QUICK, "--eps", "8/255")[0] == 0
    before = contents(out)
    assert run("attack", photos, out, *QUICK, "--eps", "8/255", "--save-tensors")[0] == 0
    entry = manifest(out)["files"]["a.png"]
    values = load_image_tensor(out / "a.safetensors")
    clean = from_uint8(torch.from_numpy(read(photos / "a.png").astype(np.uint8)).permute(2, 0, 1))
    assert (out / "a.png").read_bytes() == before[Path("a.png")]
    assert entry["float_linf"] == pytest.approx(float((values - clean).abs().max()), abs=1e-7)
    assert entry["float_linf"] <= 8 / 255 + 1e-6
    assert (to_uint8(values).permute(1, 2, 0).numpy() == read(out / "a.png")).all()
    stamp = (out / "a.safetensors").stat().st_mtime_ns
    (out / "b.safetensors").unlink()
    assert run("attack", photos, out, *QUICK, "--eps", "8/255", "--save-tensors")[0] == 0
    assert (out / "a.safetensors").stat().st_mtime_ns == stamp
    assert (out / "b.safetensors").exists()


def test_names_that_are_no_utf8(run, photo, tmp_path, tiny_file):
    source, name = tmp_path / "in", os.fsdecode(b"caf\xe9")
    try:
        photo(source / f"{name}.png")
        (source / os.fsdecode(b"\xe9-broken.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    out, args = tmp_path / "out", ("--name", "noise", "--save-tensors", "--json")
    for counts in ({"done": 1, "skipped": 0}, {"done": 0, "skipped": 1}):
        code, text, err = run("attack", source, out, *args)
        assert code == 1
        summary = json.loads(text)
        assert counts.items() <= summary.items()
        assert summary["failed"][0]["source"] == str(source / os.fsdecode(b"\xe9-broken.png"))
        assert "udce9-broken.png" in err
    assert list(manifest(out)["files"]) == [f"{name}.png"]
    assert run("purify", out, tmp_path / "pure", "--purifier", tiny_file)[0] == 0
    assert (tmp_path / "pure" / f"{name}.png").is_file()


def test_an_old_name_of_an_option_works_and_warns(run, photos, tmp_path):
    args = ("attack", photos / "a.png", tmp_path / "a.png", "--name", "noise")
    code, _, err = run(*args, "--floats", "--quiet")
    assert code == 0
    assert err == "nrpurify: warning: --floats is now --save-tensors; the old name goes with 0.3\n"
    assert (tmp_path / "a.safetensors").is_file()
    assert "--floats" not in run("attack", "--help")[1]
