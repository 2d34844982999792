"""Detection and segmentation on the one runner, on tiny pictures with tiny models."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.images import read_image, write_png
from nrpurify.data.labels import LabeledImage
from nrpurify.data.masks import CAMVID
from nrpurify.defenses.randomness import RandomDefense
from nrpurify.defenses.registry import DEFENSES, register_defense
from nrpurify.evaluation import DataSpec, EvaluationPlan, EvaluationProgress, PlannedAttack, prepare
from nrpurify.evaluation import run as run_plan
from nrpurify.evaluation.segmentation import Segment, table_of
from nrpurify.evaluation.table import tables
from nrpurify.evaluation.tasks import TASKS, Samples
from nrpurify.models.segmenters import CAMVID_CLASSES, as_segmenter

NOISE = PlannedAttack("noise", eps=(16 / 255,))
SKIPPED = ("seconds", "peak_memory_mb")


class Threshold(nn.Module):
    """Light where red is above one half."""

    def forward(self, images):
        return torch.cat([0.5 - images[:, :1], images[:, :1] - 0.5], 1)


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


def grey(values):
    return (torch.tensor(values, dtype=torch.float32) / 255).expand(3, -1, -1)


@pytest.fixture
def frames(tmp_path):
    """Four images, one half light, with void in the last column of their masks."""
    for index in range(4):
        light = grey([[100.0] * 4 + [140.0 + index] * 4] * 6)
        write_png(tmp_path / "frames" / f"{index}.png", light)
        mask = [[0.0] * 4 + [1.0] * 3 + [255.0]] * 6
        write_png(tmp_path / "masks" / f"{index}.png", grey(mask))
    return DataSpec(str(tmp_path / "frames"), masks=str(tmp_path / "masks"))


@pytest.fixture
def scenes(tmp_path):
    """Three dark pictures of different sizes with a bright rectangle, and one without."""
    pytest.importorskip("faster_coco_eval")
    (tmp_path / "labels").mkdir()
    for k, (height, width) in enumerate(((20, 40), (30, 30), (40, 24), (16, 16))):
        image = torch.full((3, height, width), 0.2)
        if k < 3:
            image[:, 5:15, 4:12] = 0.8
        write_png(tmp_path / "photos" / f"{k}.png", image)
        corners = [(4, 5), (12, 5), (12, 15), (4, 15)]
        shares = " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in corners)
        (tmp_path / "labels" / f"{k}.txt").write_text(f"0 {shares}\n" if k < 3 else "")
    return DataSpec(str(tmp_path / "photos"), annotations=str(tmp_path / "labels"))


def plan(data, task, **changes):
    metric = {"segment": "mIoU", "instances": "mAP:kind=masks,resamples=5"}.get(
        task, "mAP:resamples=5"
    )
    given = {"attacks": (NOISE,), "defenses": ("none",), "metrics": (metric,)} | changes
    return EvaluationPlan(data, ("mine",), task=task, **given)


def model(task):
    segmenter = as_segmenter(Threshold(), ("dark", "light"), name="threshold")
    return {"mine": segmenter if task == "segment" else BrightBoxes()}


def measured(data, task, out=None, **changes):
    options = {name: changes.pop(name) for name in ("resume", "progress") if name in changes}
    return run_plan(plan(data, task, **changes), out, models=model(task), **options)


def values(run, metric):
    return {(c.attack, c.defense): c.value for c in run.cells if c.metric == metric}


@pytest.mark.parametrize("task", ["detect", "instances"])
def test_detectors_are_measured(scenes, task, tmp_path):
    run = measured(scenes, task, tmp_path / "run", defenses=("none", "median:size=3"))
    assert len(run.cells) == 2 * 2 * 2
    assert values(run, "mAP50")["clean", "none"] == pytest.approx(1)
    assert {cell.task for cell in run.cells} == {task}
    assert {cell.n for cell in run.cells} == {4}
    assert all(low <= c.value <= high for c in run.cells for low, high in [c.interval])
    assert any("image without objects: 3.png" in warning["text"] for warning in run.warnings)
    assert [strip["name"] for strip in run.strips] == ["0.png", "1.png", "2.png"]
    assert run.strips[0]["panels"][0]["caption"] == "1 person"
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == run.to_dict()


def test_boxes_follow_scaled_images(scenes):
    run = measured(replace(scenes, longest=20), "detect", attacks=())
    assert values(run, "mAP50")["clean", "none"] == pytest.approx(1)


def test_segmenters_are_measured(frames):
    run = measured(frames, "segment", attacks=(), metrics=("pixel-accuracy", "mIoU"))
    assert {c.metric: c.value for c in run.cells} == {"pixel accuracy": 1.0, "mIoU": 1.0}
    assert {cell.n for cell in run.cells} == {4}


def test_several_victims_of_one_task(frames):
    both = {**model("segment"), "other": as_segmenter(Threshold(), ("dark", "light"))}
    own = replace(plan(frames, "segment"), victims=("mine", "other"))
    found = run_plan(own, models=both)
    assert [cell.victim for cell in found.cells[:2]] == ["mine", "other"]
    both["other"] = as_segmenter(nn.Conv2d(3, 3, 1), ("a", "b", "c"))
    with pytest.raises(InputError, match="different classes"):
        run_plan(own, models=both)


def test_what_is_left_out_is_counted(frames, tmp_path):
    write_png(tmp_path / "masks" / "1.png", grey([[0.0] * 8] * 5))
    write_png(tmp_path / "masks" / "2.png", grey([[9.0] * 8] * 6))
    (tmp_path / "masks" / "3.png").unlink()
    run = measured(frames, "segment")
    assert run.images["n"] == 1
    assert run.left_out.keys() == {"wrong size", "unknown value", "image without mask"}
    assert "1 × wrong size" in " ".join(warning["text"] for warning in run.warnings)
    write_png(tmp_path / "masks" / "0.png", grey([[9.0] * 8] * 6))
    with pytest.raises(InputError, match="no pair of image and mask can be used"):
        measured(frames, "segment")


def test_a_mask_that_breaks_on_the_way_is_named(frames, tmp_path):
    with prepare(plan(frames, "segment"), models=model("segment")) as evaluation:
        (tmp_path / "masks" / "2.png").write_bytes(b"")
        with pytest.raises(InputError, match=r"2\.png.*usable a moment ago"):
            evaluation.run()


def test_images_without_outlines_are_left_out_for_instances(scenes, tmp_path):
    (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert measured(scenes, "instances").images["n"] == 3
    assert measured(scenes, "detect").images["n"] == 4


def test_passes_are_averaged_by_segment_and_refused_by_detect(frames, scenes):
    specs = ("noise:std=0.2,passes=9", "noise:std=0.2,passes=9,combine=vote", "noise:std=0.2")
    run = measured(frames, "segment", attacks=(), defenses=specs, metrics=("pixel-accuracy",))
    found = {cell.defense: cell for cell in run.cells}
    assert [found[spec].draws for spec in specs] == [9, 9, 1]
    assert min(found[spec].value for spec in specs[:2]) > found[specs[2]].value
    with pytest.raises(InputError, match=r"asks for 9 passes.* detect takes defenses with passes"):
        measured(scenes, "detect", defenses=specs[:1])


def test_defenses_keep_the_size_where_the_task_needs_it(frames):
    with pytest.raises(InputError, match="segment needs defenses that keep the size"):
        measured(frames, "segment", defenses=("rp:passes=1",))


def test_attacks_on_classifiers_need_class_labels(frames):
    with pytest.raises(InputError, match="fgsm attacks classifiers; other tasks take noise"):
        measured(frames, "segment", attacks=(PlannedAttack("fgsm", surrogate=("a",)),))
    with pytest.raises(InputError, match=r"data\.masks: does not belong to classify"):
        run_plan(EvaluationPlan(frames, ("a",)))
    with pytest.raises(InputError, match=r"data\.masks: is missing; segment needs masks"):
        run_plan(EvaluationPlan(DataSpec("somewhere"), task="segment"))


def test_nan_is_no_class(frames):
    class Lost(Threshold):
        def forward(self, images):
            return super().forward(images) * torch.nan

    with pytest.raises(InputError, match=r"logits of mine behind the defense 'none' hold NaN"):
        run_plan(plan(frames, "segment"), models={"mine": as_segmenter(Lost(), ("dark", "light"))})


class Kept(EvaluationProgress):
    def __init__(self):
        self.kept = []

    def finished(self, cell, done, total, *, kept):
        self.kept.append(kept)


def test_only_what_changed_is_measured_again(scenes, tmp_path):
    out = tmp_path / "run"
    first = measured(scenes, "detect", out)
    with pytest.raises(InputError, match="holds a run; resume it"):
        measured(scenes, "detect", out)
    seen = Kept()
    again = measured(scenes, "detect", out, resume=True, progress=seen)
    assert again.cells == first.cells
    assert all(seen.kept)
    file = tmp_path / "labels" / "0.txt"
    file.write_text(f"{file.read_text()}0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    seen = Kept()
    measured(scenes, "detect", out, resume=True, progress=seen)
    assert not any(seen.kept)


class Grain(RandomDefense):
    """Gray noise; every call draws."""

    def __init__(self, generator=None):
        super().__init__(1, "mean", generator)

    def forward(self, images):
        noise = [self.uniform(-0.4, 0.4) for _ in range(images[0, 0].numel() * len(images))]
        return (images + torch.tensor(noise).view(len(images), 1, *images.shape[2:])).clamp(0, 1)


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_results_depend_neither_on_batch_order_nor_interruption(frames, scenes, task, tmp_path):
    register_defense("grain", source="test")(Grain)
    try:
        data, specs = frames if task == "segment" else scenes, ("none", "grain", "noise:std=0.3")
        found = []
        for batch in (1, 4, 16):
            out = tmp_path / str(batch)
            if batch == 4:  # interrupted: half of the results and attacked images are lost
                measured(data, task, out, batch=batch, defenses=specs)
                lost = [*sorted((out / "cells").iterdir())[::2], *out.rglob("00001*.png")]
                for path in lost:
                    path.unlink()
            order = specs if batch != 16 else specs[::-1]
            run = measured(data, task, out, batch=batch, defenses=order, resume=batch == 4)
            rows = [
                {k: v for k, v in cell.to_dict().items() if k not in SKIPPED} for cell in run.cells
            ]
            for row in rows:
                row["settings"].pop("attack_seconds", None)
            found.append(sorted(rows, key=lambda row: row["id"]))
        assert found[0] == found[1] == found[2]
        by_defense = {row["defense"]: row["value"] for row in found[0] if row["attack"] == "clean"}
        assert by_defense["grain"] < by_defense["none"]
    finally:
        DEFENSES.forget("grain")


def test_attacked_images_of_one_name_are_kept_apart(tmp_path):
    for place, shade in (("a/1.png", 0.3), ("b/1.png", 0.6), ("a/1.jpg.png", 0.4)):
        write_png(tmp_path / "frames" / place, torch.full((3, 8, 8), shade))
        write_png(tmp_path / "masks" / place, torch.zeros(3, 8, 8))
    data = DataSpec(str(tmp_path / "frames"), masks=str(tmp_path / "masks"))
    run = measured(data, "segment", tmp_path / "run")
    (folder,) = (tmp_path / "run" / "adversaries").iterdir()
    means = [float(read_image(path).rgb.mean()) for path in sorted(folder.glob("*.png"))]
    assert sorted(means) == pytest.approx([0.3, 0.4, 0.6], abs=0.01)
    assert [strip["name"] for strip in run.strips] == ["a/1.png", "a/1.jpg.png", "b/1.png"]
    assert len({panel["file"] for strip in run.strips for panel in strip["panels"]}) == 6


def test_images_made_before_by_an_earlier_run(frames, tmp_path):
    first = measured(frames, "segment", tmp_path / "run")
    (folder,) = (tmp_path / "run" / "adversaries").iterdir()
    for path in list(folder.glob("*.png")):
        path.rename(folder / path.name.partition("-")[2])
    made = PlannedAttack(attacked=str(folder), eps=())
    again = measured(frames, "segment", attacks=(made,))
    assert [cell.value for cell in again.cells] == [cell.value for cell in first.cells]
    cell = again.cells[-1]
    assert (cell.attack, cell.eps) == ("noise", pytest.approx(16 / 255, abs=1e-6))
    assert cell.settings["attacked_sha256"]


def test_attacks_that_differ_in_steps_or_surrogate_have_columns_of_their_own(cell):
    def made(steps, surrogate):
        attack = {"attack": "ssp", "threat": "oblivious transfer", "eps": 8 / 255}
        known = {"task": "segment", "metric": "mIoU", "steps": steps, "surrogate": surrogate}
        return cell("x", **attack, **known, value=steps / 1000)

    cells = [made(10, "vgg16"), made(100, "vgg16"), made(100, "alexnet")]
    (((header, rows), _),) = tables({"cells": cells})
    assert header[1:] == [
        "ssp 8/255, steps 10",
        "ssp 8/255, steps 100, surrogate vgg16",
        "ssp 8/255, steps 100, surrogate alexnet",
    ]
    assert rows == [["none", "1.0", "10.0", "10.0"]]
    (((header, _), _),) = tables({"cells": cells[:1]})
    assert header[1:] == ["ssp 8/255"]


def test_masks_of_other_classes_have_255_for_void():
    assert table_of(CAMVID_CLASSES) is CAMVID
    other = table_of(("a", "b"))
    assert (other.names, other.void) == (("a", "b"), (255,))


def test_built_in_tasks_and_their_defaults():
    assert TASKS.names() == ["classify", "detect", "instances", "segment"]
    assert TASKS.create("segment").default_victims == ("segnet-basic-camvid",)
    with pytest.raises(InputError, match="did you mean segment"):
        run_plan(EvaluationPlan(task="segmnt"))


def test_masks_of_the_user_are_measured(frames):
    straight = measured(frames, "segment", attacks=())
    opened = Segment().open(frames)
    known = Segment().fit({"mine": model("segment")["mine"]}, opened, frames)
    own = Samples(opened.paths, known.read, {"masks": "mine"})
    for data in (DataSpec(), frames):
        run = run_plan(plan(data, "segment", attacks=()), items=own, models=model("segment"))
        assert values(run, "mIoU") == values(straight, "mIoU")


def test_labeled_images_are_for_classifiers(frames):
    items = [LabeledImage(path, 0) for path in Segment().open(frames).paths]
    with pytest.raises(InputError, match="items holds LabeledImages, whose labels are classes of"):
        run_plan(plan(frames, "segment"), items=items, models=model("segment"))
