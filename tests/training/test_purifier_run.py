import json
import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.lock import locked
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.purifiers import Card, Purifier, build_purifier, load_purifier, save_purifier
from nrpurify.purifiers.registry import Design
from nrpurify.training import train
from nrpurify.training.run_folder import Origin, RunFolder, files_hash

GAN = {"pixel": 10, "pixel_norm": "l1", "adversarial": 0.05}
KILLED = -signal.SIGKILL


class Interrupted(Progress):
    """Leaves the run behind the given step, as Ctrl-C would."""

    def __init__(self, step):
        self.step = step

    def update(self, what, done, total, values=NO_VALUES):
        if what == "train" and done == self.step:
            raise KeyboardInterrupt


class Recorder(Progress):
    def __init__(self):
        self.calls = []

    def update(self, what, done, total, values=NO_VALUES):
        self.calls.append((what, done, total))

    def note(self, text, values=NO_VALUES):
        self.calls.append((text, sorted(values)))


def log_rows(folder):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("seconds")
    return rows


def state(folder):
    return torch.load(folder / "state.pt", weights_only=True)["trainer"]


def assert_equal(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_equal(value, second[key])
    elif isinstance(first, list | tuple):
        for a, b in zip(first, second, strict=True):
            assert_equal(a, b)
    else:
        assert first == second


def test_a_whole_run(go, tmp_path):
    recorder = Recorder()
    file = go("run", progress=recorder)
    assert file == tmp_path / "run" / "purifier.safetensors"
    card = load_purifier(file).card
    assert card.name == "micro"
    assert card.training["steps_done"] == 6
    assert card.training["photos"] + card.training["held_out"] == 6
    assert card.training["recipe"]["batch"] == 2
    assert card.metrics["psnr_purified"] > 10
    rows = log_rows(tmp_path / "run")
    kinds = [(row["kind"], row["step"]) for row in rows]
    trained = [("train", step) for step in range(1, 7)]
    assert kinds == [*trained[:3], ("validation", 3), *trained[3:], ("validation", 6)]
    assert card.metrics == {
        k: v for k, v in rows[-1].items() if k not in ("kind", "step")
    }  # fmt: skip
    assert recorder.calls[:2] == [("adversaries", 1, 1), ("train", 1, 6)]
    assert recorder.calls[-1][0] == "step 6"
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"recipe.json", "state.pt", "adversaries-0", "validation.safetensors"} <= names
    assert not [name for name in names if name.startswith(".")]


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"losses": GAN}, 3),
        ({"losses": GAN}, 4),
        ({"losses": {**GAN, "gan": "vanilla", "features": []}}, 3),
        ({"losses": GAN, "cache": {"shards": 0}}, 3),
    ],
)
def test_resume_equals_an_uninterrupted_run(go, tmp_path, changes, step):
    whole = go("whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        go("cut", **changes, progress=Interrupted(step))
    saved = torch.load(tmp_path / "cut" / "state.pt", weights_only=True)["trainer"]["step"]
    assert saved == 2  # step 4's checkpoint comes after its progress
    assert log_rows(tmp_path / "cut")[-1]["step"] >= 3
    cut = go("cut", **changes, resume=True)
    states = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert {"network", "average", "critic", "optimizer", "critic_optimizer"} <= states[0].keys()
    assert_equal(*states)
    assert_equal(load_file(whole), load_file(cut))
    assert log_rows(tmp_path / "cut") == log_rows(tmp_path / "whole")


def test_sigkill_loses_only_what_is_behind_the_checkpoint(program, go, photo_folder, tmp_path):
    def process(*arguments):
        environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
        command = [sys.executable, program, tmp_path / "killed", photo_folder, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    assert process("--die-at", "5").returncode == KILLED
    assert state(tmp_path / "killed")["step"] == 4
    assert not [p for p in (tmp_path / "killed").rglob("*") if p.name.startswith(".")]
    done = process("--resume")
    assert done.returncode == 0, done.stderr
    whole = go("whole")
    assert_equal(load_file(whole), load_file(tmp_path / "killed" / "purifier.safetensors"))
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "killed"))


@pytest.mark.parametrize(
    "writer", ["torch.save", "nrpurify.training.purifier_trainer.save_purifier"]
)
def test_death_between_the_files_of_the_last_checkpoint(go, monkeypatch, tmp_path, writer):
    whole = go("whole")
    calls = []

    def dying(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    module, _, name = writer.rpartition(".")
    original = getattr(import_module(module), name)
    with monkeypatch.context() as patched:
        patched.setattr(writer, dying)
        with pytest.raises(KeyboardInterrupt):
            go("cut")
    cut = go("cut", resume=True)
    assert_equal(load_file(whole), load_file(cut))
    assert load_purifier(cut).card.training["steps_done"] == 6
    assert log_rows(tmp_path / "cut") == log_rows(tmp_path / "whole")


def test_lines_behind_the_checkpoint_are_dropped(go, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go("run", progress=Interrupted(5))
    assert log_rows(tmp_path / "run")[-1]["step"] == 5
    with pytest.raises(KeyboardInterrupt):
        go("run", progress=Interrupted(5), resume=True)
    steps = [row["step"] for row in log_rows(tmp_path / "run") if row["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5]


def test_resume_of_a_done_run_does_nothing(go, tmp_path):
    file = go("run")
    before = file.read_bytes()
    recorder = Recorder()
    assert go("run", resume=True, progress=recorder) == file
    assert not [call for call in recorder.calls if call[0] == "train"]
    assert file.read_bytes() == before


def test_resume_without_a_run_starts_one(go):
    assert go("fresh", resume=True, steps=2).exists()


def test_an_existing_run_is_not_overwritten(go, tmp_path):
    file = go("run", steps=2)
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"holds a run already; add --resume .* another folder"):
        go("run", steps=2)
    assert file.read_bytes() == before


def test_two_runs_in_one_folder_at_once(go, tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run" / "run.lock"):
        for resume in (False, True):
            with pytest.raises(InputError, match=r"another process is training in .*run"):
                go("run", steps=2, resume=resume)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]
    assert go("run", steps=2).exists()


def test_another_recipe_cannot_resume_and_its_settings_are_named(go):
    go("run", steps=2)
    changes = {
        "batch": 3,
        "seed": 1,
        "variation": {"clean": 0.5},
        "adversaries": [{"steps": [2, 3]}],
    }
    with pytest.raises(InputError) as error:
        go("run", steps=1, resume=True, **changes)
    told = str(error.value)
    assert "adversaries.0.starts was ['uniform', 'gaussian'] and is ['uniform']" in told
    assert "batch was 2 and is 3" in told
    assert "more; resume with the same" in told
    with pytest.raises(InputError, match=r"another recipe: steps was 2 and is 1; .* another fold"):
        go("run", steps=1, resume=True)


def test_more_steps_extend_a_run(go, tmp_path):
    gated = {"strength": {"coarse": 2, "fine": 2}, "gate": {"steps": 2, "batch": 1}}
    go("run", steps=2, **gated)
    with pytest.raises(KeyboardInterrupt):
        go("run", steps=4, **gated, resume=True, progress=Interrupted(3))
    file = go("run", steps=4, **gated, resume=True)
    card = load_purifier(file).card
    assert (card.training["steps_done"], card.training["extended_from"]) == (4, [2])
    assert load_purifier(file).gate is not None
    rows = [(row["kind"], row["step"]) for row in log_rows(tmp_path / "run")]
    assert [row for row in rows if row[0] != "validation"] == [
        *(("train", step) for step in (1, 2, 3, 4)), ("gate", 5), ("gate", 6)
    ]  # fmt: skip
    with pytest.raises(InputError, match="steps was 4 and is 2"):
        go("run", steps=2, **gated, resume=True)
    assert "extended_from" not in load_purifier(go("whole", steps=1)).card.training


DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "other": lambda data: b'{"a": 1}',
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_named_with_a_way_to_mend_them(go, tmp_path, damage):
    go("run", steps=2)
    folder = tmp_path / "run"
    for name, mend in {
        "recipe.json": "delete it if the settings are the same",
        "origin.json": "delete it if photos and warm start are the same",
        "state.pt": "delete it to start at step 0",
        "validation.safetensors": "delete it, and it is made again",
        "adversaries-0/shard-00000.safetensors": "delete it, and it is made again",
    }.items():
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(damage(whole))
        with pytest.raises(WeightsError) as error:
            go("run", steps=2, resume=True)
        told = str(error.value)
        assert told.startswith(f"{folder / name} cannot be read: ")
        assert mend in told
        assert "\n" not in told
        assert len(told) < 500
        (folder / name).unlink()
        go("run", steps=2, resume=True)


def test_a_state_of_another_network_is_named(go, tmp_path):
    go("run", steps=2)
    kept = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    del kept["trainer"]["network"]["head.weight"]
    torch.save(kept, tmp_path / "run" / "state.pt")
    with pytest.raises(WeightsError, match=r"state\.pt cannot be read: .*; delete it to start"):
        go("run", steps=2, resume=True)


@pytest.mark.parametrize(
    ("writer", "file"),
    [
        ("nrpurify.training.run_folder.torch.save", "state.pt"),
        ("nrpurify.training.purifier_trainer.save_purifier", "purifier.safetensors"),
        ("nrpurify.training.adversary_cache.save_file", "shard-00000.safetensors"),
        ("nrpurify.training.validation.save_file", "validation.safetensors"),
        ("nrpurify.training.log.write_text", "log.jsonl"),
        ("nrpurify.training.run_folder.write_json", "recipe.json"),
    ],
)
def test_a_full_disk_is_named_and_the_run_goes_on_later(go, monkeypatch, tmp_path, writer, file):
    def full(*arguments, **keywords):
        raise RuntimeError("unexpected pos 64 vs 0\nat inline_container.cc")

    with monkeypatch.context() as patched:
        patched.setattr(writer, full)
        with pytest.raises(WeightsError, match=rf"{file} cannot be written: .* \(\d+ MB free\);"):
            go("run", steps=2)
    assert go("run", steps=2, resume=True).exists()


def test_another_recipe_cannot_take_over_shards_of_a_run_without_checkpoint(go, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go("run", progress=Interrupted(1))
    assert not (tmp_path / "run" / "state.pt").exists()
    with pytest.raises(InputError, match="started with another recipe"):
        go("run", seed=1)
    assert go("run").exists()  # the same recipe begins anew


def test_state_that_cannot_be_read(go, tmp_path):
    go("run", steps=2)
    (tmp_path / "run" / "state.pt").write_bytes(b"broken")
    with pytest.raises(WeightsError, match=r"state\.pt cannot be read"):
        go("run", steps=2, resume=True)


def test_warm_start_begins_from_the_weights(go, tmp_path):
    torch.manual_seed(9)
    other = build_purifier("micro")
    save_purifier(other, tmp_path / "warm.safetensors")
    slow = {"lr": 1e-12, "ema": 0.0, "amp": False}
    warm = load_purifier(
        go("run", warm_start=tmp_path / "warm.safetensors", steps=1, optimization=slow)
    )
    cold = load_purifier(go("cold", steps=1, optimization=slow))
    wanted, found, cold = (p.network.encode[0][0].conv1.weight for p in (other, warm, cold))
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
    assert (cold - wanted).abs().max() > 0.01


def test_warm_start_from_a_smaller_network(go, tmp_path):
    smaller = Design("unshuffle-unet", {"widths": [48, 52, 56], "blocks": [1, 1, 1]})
    other = Purifier(smaller.build(), Card("smaller", smaller.architecture, smaller.arguments))
    save_purifier(other, tmp_path / "warm.safetensors")
    slow = {"lr": 1e-12, "ema": 0.0, "amp": False}
    warm = load_purifier(
        go("run", warm_start=tmp_path / "warm.safetensors", steps=1, optimization=slow)
    )
    images = torch.rand(1, 3, 32, 32)
    assert Design.of(warm.card) != smaller
    torch.testing.assert_close(warm(images), other(images), atol=1e-2, rtol=0)


def test_warm_start_of_another_design_is_refused(go, tmp_path):
    save_purifier(build_purifier("fast-rrdb"), tmp_path / "warm.safetensors")
    with pytest.raises(InputError, match=r"the warm start is a .*rrdb.*; expected .*unet"):
        go("run", warm_start=tmp_path / "warm.safetensors")


def test_validation_takes_any_side(go):
    """40 is no multiple of the micro design's 16: the purifier pads."""
    plan = {"every": 1, "photos": 1, "side": 41, "steps": 1}
    assert load_purifier(go("run", steps=1, validation=plan)).card.metrics["psnr_purified"] > 10


def test_no_held_out_photos_no_validation(go, tmp_path):
    card = load_purifier(go("run", holdout=0, steps=2)).card
    assert card.metrics == {}
    assert card.training["held_out"] == 0
    assert {row["kind"] for row in log_rows(tmp_path / "run")} == {"train"}
    assert not (tmp_path / "run" / "validation.safetensors").exists()


def test_no_photos_to_validate_with_no_validation(go, tmp_path):
    card = load_purifier(go("run", steps=1, validation={"photos": 0})).card
    assert card.metrics == {}


def test_photos_of_the_same_names_and_sizes_cannot_take_over_a_run(tmp_path):
    photo, folder = tmp_path / "a.jpg", RunFolder(tmp_path / "run", {})
    photo.write_bytes(b"one")
    before = files_hash([photo])
    folder.enter(Origin(before), resume=False)
    folder.write_start(Origin(before))
    photo.write_bytes(b"two")
    with pytest.raises(InputError, match="was started on other files"):
        folder.enter(Origin(files_hash([photo])), resume=True)
    photo.write_bytes(b"one")
    folder.enter(Origin(files_hash([photo])), resume=True)


def test_a_run_of_an_older_version_goes_on_with_files_of_the_same_names_and_sizes(tmp_path):
    photo, folder = tmp_path / "a.jpg", RunFolder(tmp_path / "run", {})
    photo.write_bytes(b"one")
    before = Origin(files_hash([photo]).split("-")[0])
    folder.enter(before, resume=False)
    folder.write_start(before)
    folder.enter(Origin(files_hash([photo])), resume=True)


def test_other_photos_cannot_take_over_a_run(go, photo_folder, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go("run", progress=Interrupted(1))
    first = sorted(photo_folder.rglob("*.png"))[0]
    shutil.copy(first, first.with_name("another.png"))
    with pytest.raises(InputError, match="was started on other files; resume with the same, or"):
        go("run")
    first.with_name("another.png").unlink()
    assert go("run").exists()


def test_another_number_of_processes_cannot_go_on(go, tmp_path):
    go("run", steps=2)
    file = tmp_path / "run" / "origin.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "processes": 4}))
    with pytest.raises(InputError, match="started by 4 processes, these are 1; resume with as"):
        go("run", steps=2, resume=True)


def test_a_warm_start_is_not_forgotten(go, tmp_path):
    warm = tmp_path / "warm.safetensors"
    sha256 = save_purifier(build_purifier("micro"), warm).sha256
    with pytest.raises(KeyboardInterrupt):
        go("run", warm_start=warm, progress=Interrupted(1))
    with pytest.raises(InputError, match=f"from weights with sha256 {sha256}; give the same warm"):
        go("run", resume=True)
    with pytest.raises(KeyboardInterrupt):
        go("run", warm_start=warm, progress=Interrupted(3))
    card = load_purifier(go("run", resume=True)).card
    assert card.training["warm_start"] == sha256
    assert "warm_start" not in load_purifier(go("cold", steps=1)).card.training


def test_half_precision_passes_through_every_loss(go, tiny_classifier, tmp_path):
    feature = {"weight": 1.0, "layers": ["conv2"]}
    terms = {**GAN, "features": [feature], "diversity": 1.0, "guide": "x"}
    go("run", steps=2, losses=terms, optimization={"amp": True, "warmup": 1})
    rows = [row for row in log_rows(tmp_path / "run") if row["kind"] == "train"]
    assert {"feature", "pixel", "guide", "adversarial", "critic"} <= rows[-1].keys()


def test_what_enlarges_has_no_correction_to_strengthen(go):
    strong = {"coarse": 1.5, "fine": 1.2}
    with pytest.raises(InputError, match="edsr enlarges images, so it has no correction"):
        go("run", purifier="edsr", strength=strong)


def older(text):
    """The recipe as a version wrote it that knew neither kinds of adversaries nor guides."""
    values = json.loads(text)
    for settings in values["adversaries"]:
        del settings["kind"], settings["std"]
    del values["defense"], values["extends"], values["losses"]["guide"]
    return json.dumps(values)


def test_a_run_of_an_older_version_goes_on(go, tmp_path):
    whole = go("whole")
    with pytest.raises(KeyboardInterrupt):
        go("cut", progress=Interrupted(3))
    file, kept = tmp_path / "cut" / "recipe.json", tmp_path / "cut" / "state.pt"
    file.write_text(older(file.read_text()))
    written = torch.load(kept, weights_only=True)
    torch.save({**written, "recipe": older(written["recipe"])}, kept)
    with pytest.raises(InputError, match="started with another recipe"):
        go("cut", resume=True, losses={**GAN, "adversarial": 0, "guide": "squeezenet1_1"})
    assert_equal(load_file(whole), load_file(go("cut", resume=True)))


@pytest.fixture
def tiny_classifier(monkeypatch):
    def load(name, device=None, *, pretrained=True):
        torch.manual_seed(1)
        layers = torch.nn.Conv2d(3, 4, 5), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        return torch.nn.Sequential(*layers).eval().requires_grad_(False)

    monkeypatch.setattr("nrpurify.models.load_classifier", load)


@pytest.mark.parametrize(
    ("defense", "changes"),
    [
        ("hgd", {"purifier": "hgd", "losses": {"features": [], "pixel": 0, "adversarial": 0}}),
        ("ape-gan", {"purifier": "ape-gan", "losses": {**GAN, "pixel_norm": "rmse"}}),
        ("gnp", {"adversaries": [{"kind": "noise"}]}),
        ("fgsp", {"adversaries": [{"kind": "fgsm", "network": "x"}]}),
        ("sr", {"purifier": "edsr", "adversaries": [{"kind": "clean"}], "variation": {}}),
    ],
)
def test_defenses_are_trained_by_the_same_loop(go, tiny_classifier, tmp_path, defense, changes):
    if defense == "hgd":
        changes = {**changes, "losses": {**changes["losses"], "guide": "x"}}
    card = load_purifier(go("run", defense=defense, steps=3, **changes)).card
    assert card.training["recipe"]["defense"] == defense
    assert card.metrics["psnr_purified"] > 3
    rows = [row for row in log_rows(tmp_path / "run") if row["kind"] == "train"]
    assert ("guide" in rows[0]) == (defense == "hgd")
    assert all(row["loss"] >= 0 for row in rows)
    pair = load_file(tmp_path / "run" / "adversaries-0" / "shard-00000.safetensors")
    change = (pair["adversarial"].int() - pair["clean"].int()).abs().max()
    assert (change == 0) if defense == "sr" else (0 < change <= 16)


def test_a_network_that_enlarges_needs_crops_that_can_be_halved(go):
    with pytest.raises(InputError, match="crop is 33; edsr takes multiples of 2"):
        go("run", purifier="edsr", crop=33)


class _Convolutions(TorchDispatchMode):
    """Records type and narrowest width of every convolution, forward and backward."""

    def __init__(self):
        super().__init__()
        self.seen = {"forward": [], "backward": []}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.seen["forward"].append((args[0].dtype, min(args[0].shape[-1], result.shape[-1])))
        if func is torch.ops.aten.convolution_backward.default:
            self.seen["backward"].append((args[0].dtype, min(a.shape[-1] for a in args[:2])))
        return result


def test_a_training_in_bf16_computes_convolutions_of_width_1_in_fp32(micro, photo_folder, tmp_path):
    amp = {"lr": 1e-3, "warmup": 2, "clip": 1.0, "ema": 0.9, "amp": True}
    losses = {"pixel": 10, "pixel_norm": "l1", "adversarial": 0.1}
    recipe = micro.recipe(steps=2, optimization=amp, losses=losses)
    with _Convolutions() as convolutions:
        train(photo_folder, tmp_path, recipe)
    for seen in convolutions.seen.values():
        assert (torch.bfloat16, 1) not in seen
        assert (torch.float32, 1) in seen
        assert torch.bfloat16 in {dtype for dtype, _ in seen}


GOLDEN = {
    "gate": (
        {
            "losses": {**GAN, "diversity": 0.5, "balance": 0.5},
            "strength": {"coarse": 3, "fine": 2},
            "gate": {"steps": 3, "batch": 2, "updates": 2, "resize": [36, 60]},
            "variation": {"clean": 0.1, "grain": 0.3, "sign": 0.3, "scale": 0.4},
            "adversaries": [{"steps": [2, 3]}, {"kind": "noise", "strengthen": False}],
            "cache": {"shards": 6, "shard_size": 2, "crop": 40},
        },
        7540.7398,
    ),
    "fresh": (
        {
            "cache": {},
            "adversaries": [
                {"goals": {"along": 1, "against": 1, "switch": 1, "toward": 1}, "momentum": 0.5},
            ],
        },
        6239.2100,
    ),
}
"""Recipes with the sum of the final weights, taken before the trainings got one base."""


@pytest.mark.parametrize("name", GOLDEN)
def test_the_same_seed_gives_the_weights_of_earlier_versions(go, weight_size, name):
    changes, expected = GOLDEN[name]
    assert weight_size(go("run", **changes)) == pytest.approx(expected, rel=2e-5)


def test_an_object_of_the_old_form_still_sees_the_run(micro, photo_folder, tmp_path):
    seen = []

    class Old:
        def __getattr__(self, name):
            return lambda *values: seen.append(name)

    with pytest.warns(DeprecationWarning, match="progress="):
        train(photo_folder, tmp_path / "run", micro.recipe(steps=2), watcher=Old())
    assert seen == ["cached", "stepped", "stepped", "validated"]
