"""evaluate --task: tiny victims on generated images."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify.cli.evaluate_plan import one_attack
from nrpurify.core.errors import InputError
from nrpurify.models.segmenters import as_segmenter


class BrightBoxes(nn.Module):
    """Detects whatever is brighter than 0.5 as a person."""

    def forward(self, images):
        return [self._one(image) for image in images]

    def _one(self, image):
        bright = image.mean(0) > 0.5
        rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
        boxes, masks = torch.zeros(0, 4), torch.zeros(0, 1, *bright.shape)
        if len(rows):
            sides = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            boxes, masks = torch.stack(sides)[None].float(), bright[None, None].float()
        ones = torch.ones(len(boxes))
        return {"boxes": boxes, "scores": ones, "labels": ones.long(), "masks": masks}


class Bright(nn.Module):
    def forward(self, images):
        return torch.cat([0.5 - images[:, :1], images[:, :1] - 0.5], 1)


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Two dark pictures with a bright rectangle; the tiny detector stands for all."""
    monkeypatch.setenv("NRPURIFY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "nrpurify.evaluation.detection.load_detector", lambda *_, **__: BrightBoxes()
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "texts").mkdir()
    for k, (height, width) in enumerate(((40, 48), (48, 32))):
        pixels = np.full((height, width, 3), 60, np.uint8)
        pixels[10:30, 8:24] = 200
        Image.fromarray(pixels).save(tmp_path / "images" / f"{k}.png")
        corners = [(8, 10), (24, 10), (24, 30), (8, 30)]
        shares = " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in corners)
        (tmp_path / "texts" / f"{k}.txt").write_text(f"0 {shares}\n99 0.5 0.5 0.1 0.1\n")
    return tmp_path


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """Two pictures with a bright right half, and their masks."""
    monkeypatch.setenv("NRPURIFY_CACHE", str(tmp_path / "cache"))
    segmenter = as_segmenter(Bright(), ("dark", "bright"), name="threshold")
    monkeypatch.setattr(
        "nrpurify.evaluation.segmentation.load_segmenter", lambda *_, **__: segmenter
    )
    for name in ("frames", "masks"):
        (tmp_path / name).mkdir()
    for k in range(2):
        pixels = np.full((32, 40, 3), 60, np.uint8)
        pixels[:, 20:] = 200
        Image.fromarray(pixels).save(tmp_path / "frames" / f"{k}.png")
        Image.fromarray((pixels[..., 0] > 99).astype(np.uint8)).save(
            tmp_path / "masks" / f"{k}.png"
        )
    return tmp_path


def values(found, metric):
    return {
        (c["attack"], c["defense"]): c["value"] for c in found["cells"] if c["metric"] == metric
    }


@pytest.mark.parametrize("task", ["detect", "instances"])
def test_a_detector_is_measured_and_shown(run, scenes, task):
    pytest.importorskip("faster_coco_eval")
    pytest.importorskip("jinja2")
    out = scenes / "run"
    args = ("evaluate", scenes / "images", "--task", task, "--annotations", scenes / "texts")
    args += ("--attack", "noise,fff", "--eps", "8/255,16/255", "--defense", "median:size=3")
    code, text, err = run(*args, "--out", out, "--device", "cpu")
    assert code == 0, err
    assert "mAP50, %" in text
    assert "fff 16/255" in text
    assert "2 × object left out, its class is unknown" in err
    found = json.loads((out / "run.json").read_text())
    assert values(found, "mAP50")["clean", "none"] == pytest.approx(1)
    assert len(found["cells"]) == 2 * 2 * 5
    assert {cell["task"] for cell in found["cells"]} == {task}
    assert {cell["rounding"] for cell in found["cells"]} == {"uint8"}
    assert found["images"] == {"folder": "images", "n": 2, "size": None, "rule": "all with labels"}
    first = found["strips"][0]
    assert first["label"] == "1 person"
    assert [panel["title"] for panel in first["panels"]] == [
        "Clean",
        "Attacked: noise, ε 16/255",
        "After median:size=3",
    ]
    assert first["panels"][0]["file"] == "00000-0--clean.png"
    assert first["panels"][0]["caption"] == "1 person"
    (made,) = (out / "adversaries").glob("noise-16-*")
    assert (made / "00000-0.png").is_file()
    assert run("report", out)[0] == 0
    assert "0.png" in (out / "report.html").read_text()


@pytest.mark.parametrize("task", ["detect", "instances"])
def test_finished_detections_are_kept_until_something_changes(run, scenes, monkeypatch, task):
    pytest.importorskip("faster_coco_eval")
    asked = []

    class Counted(BrightBoxes):
        def forward(self, images):
            asked.append(len(images))
            return super().forward(images)

    monkeypatch.setattr("nrpurify.evaluation.detection.load_detector", lambda *_, **__: Counted())
    args = ("evaluate", scenes / "images", "--task", task, "--annotations", scenes / "texts")
    args += ("--attack", "noise", "--defense", "median:size=3", "--out", scenes / "run", "--json")

    def measured(*more):
        """The cells, and how many conditions were measured for them on two images."""
        asked.clear()
        code, text, err = run(*args, *more)
        assert code == 0, err
        shown = 2 * 3  # panels of two strips ask again
        return json.loads(text)["cells"], (len(asked) - shown) // 2

    first, conditions = measured()
    assert conditions == 4
    for cell in first[4:]:
        (scenes / "run" / "cells" / f"{cell['id']}.json").unlink()
    again, conditions = measured("--resume")
    assert conditions == 2
    told = ("id", "value", "interval")
    assert [[c[k] for k in told] for c in again] == [[c[k] for k in told] for c in first]
    assert measured("--resume")[1] == 0
    texts = scenes / "texts" / "0.txt"
    texts.write_text(texts.read_text().splitlines()[0] + "\n0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    changed, conditions = measured("--resume")
    assert conditions == 4
    assert not {c["id"] for c in changed} & {c["id"] for c in first}


def test_attacked_images_made_before(run, scenes):
    pytest.importorskip("faster_coco_eval")
    made = scenes / "made"
    assert run("attack", scenes / "images", made, "--name", "noise", "--eps", "8/255")[0] == 0
    args = ("evaluate", scenes / "images", "--task", "detect", "--annotations", scenes / "texts")
    args += ("--attacked", made, "--defense", "none", "--out", scenes / "run", "--json")
    code, text, err = run(*args)
    assert code == 0, err
    found = json.loads(text)
    cell = found["cells"][-1]
    assert (cell["attack"], cell["surrogate"]) == ("noise", None)
    assert cell["eps"] == pytest.approx(8 / 255, abs=1e-6)
    assert [len(strip["panels"]) for strip in found["strips"]] == [2, 2]


def test_a_segmenter_is_measured_and_resumed(run, frames):
    out = frames / "run"
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    args += (
        "--attack",
        "noise",
        "--defense",
        "median:size=3",
        "--defense",
        "none",
        "--out",
        out,
        "--json",
    )
    code, text, err = run(*args)
    assert code == 0, err
    found = json.loads(text)
    assert values(found, "pixel accuracy")["clean", "none"] == 1
    assert len(found["cells"]) == 8
    assert found["strips"][0]["label"] == "mostly dark 50%, bright 50%"
    assert (out / "strips" / "00001-1--purified.png").is_file()

    code, _, err = run(*args)
    assert code == 2
    assert "holds a run; resume it (--resume)" in err

    for cell in found["cells"][2:]:
        file = out / "cells" / f"{cell['id']}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "seconds": 77.0}))
    (out / "cells" / f"{found['cells'][0]['id']}.json").unlink()
    again = json.loads(run(*args, "--resume")[1])
    assert [cell["id"] for cell in again["cells"]] == [cell["id"] for cell in found["cells"]]
    assert [cell["seconds"] == 77.0 for cell in again["cells"]] == [False] * 2 + [True] * 6

    (out / "run.json").write_text("{")
    assert run(*args, "--resume")[0] == 0


def test_one_attack_with_two_settings(run, frames):
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    args += ("--attack", "noise:kind=uniform,noise", "--defense", "none", "--json")
    code, text, err = run(*args, "--out", frames / "run")
    assert code == 0, err
    found = json.loads(text)
    kinds = {cell["settings"].get("kind") for cell in found["cells"]}
    assert kinds == {None, "sign", "uniform"}
    assert len({cell["id"] for cell in found["cells"]}) == 3 * 2
    made = {
        p.name: (p / "00000-0.png").read_bytes() for p in (frames / "run" / "adversaries").iterdir()
    }
    assert len(set(made.values())) == 2


def test_no_attack_at_all(run, frames):
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    code, text, _ = run(*args, "--attack", "none", "--out", frames / "run", "--defense", "jpeg")
    assert code == 0
    assert "255" not in text
    found = json.loads((frames / "run" / "run.json").read_text())
    assert [len(strip["panels"]) for strip in found["strips"]] == [2, 2]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--masks", "m"), "--masks does not belong to --task classify; it goes with --task seg"),
        (("--task", "segment", "--batch", "3"), "--batch does not belong to --task segment"),
        (("--plan", "quick", "--steps", "3"), "--steps does not go with --plan"),
        (("--resume",), "--resume goes on in the folder of a run"),
        (("--task", "sement"), "did you mean segment"),
        (("--metric", "top6"), "did you mean top5"),
        (("--eps", "1/255,2/255"), "--task classify takes one"),
        (("--task", "detect", "--labels", "x.csv"), "--labels does not belong to --task detect"),
        (("--task", "segment", "--longest", "99"), "goes with --task detect or instances"),
        (("--task", "segment", "--attacked", "a", "--steps", "3"), "--steps does not go with"),
        (("--task", "detect", "--out", "o"), "detect needs --annotations: a COCO file"),
        (("--attack", "ssp,cda"), "--task classify takes one"),
        (("--attack", "mi-fgsm:momentom=1"), "no setting 'momentom'; did you mean momentum"),
        (("--attack", "pgd:steps=3", "--steps", "4"), "steps is given twice"),
        (("--attack", "pgd"), "such as --surrogate xception_ridge (in a plan surrogate:"),
        (("--attack", "pgd"), "write a plan with threat: full gradient"),
        (("--metric", "accuracy,top5"), "these are 2 names; give each by itself"),
    ],
)
def test_options_that_do_not_belong_are_named(run, tmp_path, args, said):
    code, _, err = run("evaluate", tmp_path, *args)
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--attack", "fgsm"), "fgsm attacks classifiers; other tasks take noise, fff, cda, ssp"),
        (("--defense", "rp"), "needs defenses that keep the size"),
        (("--masks", "nothere"), "'nothere' is no folder"),
        (("--task", "detect", "--annotations", "nothere"), "there are no annotations 'nothere'"),
        (("--eps", "2"), "expected a value above 0 and up to 1; write 2/255"),
    ],
)
def test_what_cannot_be_used_is_told(run, frames, monkeypatch, args, said):
    monkeypatch.chdir(frames)
    args = ("--task", "segment", *args) if "--task" not in args else args
    args = ("--masks", "masks", *args) if "detect" not in args and "--masks" not in args else args
    args += ("--out", "run") + (() if "--defense" in args else ("--defense", "none"))
    code, _, err = run("evaluate", "frames", *args)
    assert code == 2
    assert said in err


def test_classify_takes_one_attack():
    assert one_attack(None) == ["ssp"]
    with pytest.raises(InputError, match="fff, ssp"):
        one_attack(["fff", "ssp"])


def test_a_surrogate_that_a_defense_has_seen_is_told(run, frames, monkeypatch):
    made = frames / "made"
    assert run("attack", frames / "frames", made, "--name", "noise", "--eps", "8/255")[0] == 0
    manifest = made / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"surrogate": null', '"surrogate": "vgg16"'))
    seen = {"Median": ("vgg16", "alexnet")}
    monkeypatch.setattr(
        "nrpurify.evaluation.networks.networks_seen",
        lambda module: seen.get(type(module).__name__, ()),
    )
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    args += ("--attacked", made, "--defense", "median", "--out", frames / "run", "--json")
    code, text, err = run(*args)
    assert code == 0, err
    (warning,) = json.loads(text)["warnings"]
    assert warning["text"].startswith("median was trained on features of vgg16, a surrogate here")
    assert len(warning["cells"]) == 2
    assert "seen in training" in err


def test_images_without_outlines_are_told(run, scenes):
    pytest.importorskip("faster_coco_eval")
    (scenes / "texts" / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    args = ("evaluate", scenes / "images", "--task", "instances", "--annotations", scenes / "texts")
    args += ("--attack", "none", "--defense", "none", "--out", scenes / "run", "--json")
    code, text, err = run(*args)
    assert code == 0, err
    found = json.loads(text)
    assert found["images"]["n"] == 1
    assert "1 × image left out, it has no outlines: 1.png" in err
    assert found["left_out"]["image left out, it has no outlines"] == ["1.png"]
    assert any("no outlines: 1.png" in warning["text"] for warning in found["warnings"])


def test_everything_left_out_is_named(run, frames):
    for k in range(5):
        Image.new("RGB", (8, 8)).save(frames / "frames" / f"lonely{k}.png")
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    args += ("--attack", "none", "--defense", "none", "--out", frames / "run", "--json")
    code, text, err = run(*args)
    assert code == 0, err
    found = json.loads(text)
    assert found["left_out"] == {"image without mask": [f"lonely{k}.png" for k in range(5)]}
    (warning,) = found["warnings"]
    assert "5 × image without mask" in warning["text"]
    assert "; and 4 more" in warning["text"]
    assert "lonely3" not in err


def test_a_truncated_image_is_named_and_the_others_are_measured(run, scenes):
    data = (scenes / "images" / "1.png").read_bytes()
    (scenes / "images" / "1.png").write_bytes(data[: len(data) - 30])
    args = ("evaluate", scenes / "images", "--task", "detect", "--annotations", scenes / "texts")
    args += ("--attack", "noise", "--defense", "none", "--out", scenes / "run")
    code, _, err = run(*args)
    assert code == 1
    assert "1 file could not be read and is in no number" in err
    assert "1.png" in err
    found = json.loads((scenes / "run" / "run.json").read_text())
    assert found["images"]["n"] == 1
    assert len(found["cells"]) == 4


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_a_truncated_attacked_image_is_named_and_the_others_are_measured(run, scenes, frames, task):
    images = scenes / "images" if task == "detect" else frames / "frames"
    assert run("attack", images, scenes / "made", "--name", "noise")[0] == 0
    data = (scenes / "made" / "1.png").read_bytes()
    (scenes / "made" / "1.png").write_bytes(data[: len(data) - 30])
    labels = {"detect": ("--annotations", "texts"), "segment": ("--masks", "masks")}[task]
    args = ("evaluate", images, "--task", task, labels[0], scenes / labels[1])
    args += ("--attacked", scenes / "made", "--defense", "none")
    code, _, err = run(*args, "--out", scenes / "run")
    assert code == 1
    assert "1 file could not be read and is in no number" in err
    assert "1.png" in err
    assert json.loads((scenes / "run" / "run.json").read_text())["images"]["n"] == 1
    (scenes / "made" / "0.png").unlink()
    code, _, err = run(*args, "--out", scenes / "other")
    assert code == 2
    assert "has no attacked image for 0.png" in err


def test_a_random_defense_does_not_depend_on_what_came_before(run, frames):
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    args += ("--attack", "noise", "--defense", "noise:std=0.2", "--json")
    found = {}
    for eps in ("8/255", "16/255,8/255"):
        code, text, err = run(*args, "--eps", eps, "--out", frames / eps.replace("/", "-"))
        assert code == 0, err
        assert "one draw: noise:std=0.2 is random and was judged on one draw an image" in err
        found[eps] = {cell["id"]: cell["value"] for cell in json.loads(text)["cells"]}
    assert found["8/255"].items() <= found["16/255,8/255"].items()

    out = frames / "16-255,8-255"
    for file in (out / "cells").iterdir():
        if json.loads(file.read_text())["eps"] == 16 / 255:
            file.unlink()
    again = json.loads(run(*args, "--eps", "16/255,8/255", "--out", out, "--resume")[1])
    assert {cell["id"]: cell["value"] for cell in again["cells"]} == found["16/255,8/255"]


def test_passes_where_they_can_be_averaged(run, frames, scenes):
    spec = ("--defense", "noise:std=0.2,passes=3", "--attack", "none", "--json")
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    code, text, err = run(*args, *spec, "--out", frames / "run")
    assert code == 0, err
    assert {c["draws"] for c in json.loads(text)["cells"] if c["defense"] != "none"} == {3}
    assert "one draw" not in err
    args = ("evaluate", scenes / "images", "--task", "detect", "--annotations", scenes / "texts")
    code, _, err = run(*args, *spec, "--out", scenes / "other")
    assert code == 2
    assert "noise:std=0.2,passes=3 asks for 3 passes" in err


def test_resuming_measures_what_was_replaced(run, frames, monkeypatch):
    made, out = frames / "made", frames / "run"
    assert run("attack", frames / "frames", made, "--name", "noise", "--eps", "8/255")[0] == 0
    args = ("evaluate", frames / "frames", "--task", "segment", "--masks", frames / "masks")
    args += ("--attacked", made, "--defense", "none", "--out", out, "--json", "--resume")

    def cells():
        return {cell["id"]: cell["attack"] for cell in json.loads(run(*args)[1])["cells"]}

    first = cells()
    assert cells() == first
    Image.open(frames / "frames" / "0.png").save(made / "0.png")
    second = cells()
    assert {first[name] for name in first.keys() & second.keys()} == {"clean"}
    assert len(second) == len(first)
    monkeypatch.setattr("nrpurify.evaluation.runner.versions", lambda _: {"nrpurify": "x"})
    assert not cells().keys() & second.keys()


def test_nothing_to_find_is_told_before_the_detector_is_loaded(run, scenes, monkeypatch):
    for file in (scenes / "texts").iterdir():
        file.write_text("")
    monkeypatch.setattr(
        "nrpurify.evaluation.detection.load_detector", lambda *_, **__: pytest.fail("too late")
    )
    args = ("evaluate", scenes / "images", "--task", "detect", "--annotations", scenes / "texts")
    code, _, err = run(*args, "--attack", "noise", "--defense", "none", "--out", scenes / "run")
    assert code == 2
    assert "no image of 2 has an object" in err
    assert not (scenes / "run").exists()
