"""Names of 0.1.0 work and warn; what they do is tested in test_simple_runs.py."""

import importlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify import evaluation
from nrpurify.core import lazy
from nrpurify.core.images import write_png
from nrpurify.data.detection import Problems, SceneBuilder, Scenes
from nrpurify.defenses import make
from nrpurify.evaluation import DataSpec, EvaluationPlan, PlannedAttack, aliases, old_tasks
from nrpurify.models.detectors import load_detector
from nrpurify.models.features import feature_extractor
from nrpurify.models.segmenters import load_segmenter


@pytest.mark.parametrize("name", sorted(aliases.OLD))
def test_old_names_warn(name):
    with pytest.warns(DeprecationWarning, match=f"{name} is now .*the old name goes with 0.3"):
        assert getattr(evaluation, name) is aliases.OLD[name][0]
    assert name not in evaluation.__all__


def test_the_lists_of_old_names_agree():
    assert set(aliases.OLD) == evaluation._OLD


def test_a_recipe_is_a_plan():
    with pytest.warns(DeprecationWarning, match="GridRecipe is now EvaluationPlan"):
        recipe = evaluation.GridRecipe((PlannedAttack("noise"),), ("a",), images=DataSpec("x"))
    expected = EvaluationPlan(DataSpec("x"), ("a",), (PlannedAttack("noise"),), name="grid")
    assert recipe == expected


@pytest.mark.parametrize("old", sorted(set(lazy.NEW) - {"nrpurify.tasks"}))
def test_old_modules_warn(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {lazy.NEW[old]}; .* with 0.3"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(lazy.NEW[old])
    assert module.__spec__.name == lazy.NEW[old]


def test_the_documented_call_of_010_for_segmentation(tmp_path):
    for index in range(2):
        write_png(tmp_path / "images" / f"{index}.png", torch.rand(3, 32, 32))
        mask = Image.fromarray(np.full((32, 32), index, np.uint8))
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "masks" / f"{index}.png")
        write_png(tmp_path / "attacked" / f"{index}.png", torch.rand(3, 32, 32))
    cells = old_tasks.evaluate_segmentation(
        load_segmenter("segnet-basic-camvid", pretrained=False),
        old_tasks.LabeledFolder.read(tmp_path / "images", tmp_path / "masks"),
        {"jpeg:quality=75": make("jpeg:quality=75")},
        [old_tasks.Attacked("ssp", 1.0, tmp_path / "attacked", surrogate="vgg16", steps=100)],
    )
    assert {cell.defense for cell in cells} == {"none", "jpeg:quality=75"}
    assert {cell.label for cell in cells} == {"", "ssp"}
    assert {cell.metric for cell in cells} == {"pixel accuracy", "mIoU"}


def test_the_documented_call_of_010_for_detection(tmp_path, offline, monkeypatch):
    write_png(tmp_path / "0.png", torch.rand(3, 64, 64))
    builder = SceneBuilder(tmp_path / "0.png", Problems())
    builder.add([4, 4, 20, 20], 1)
    extractor = feature_extractor("vgg16", "conv1_2", pretrained=False)
    attack = old_tasks.ssp_attack(extractor, eps=16 / 255, steps=1)
    assert (attack.layer, attack.surrogate, attack.steps) == (("conv1_2",), ("vgg16",), 1)
    cells = old_tasks.evaluate_detection(
        load_detector("coco_ssd", pretrained=False),
        Scenes([builder.build()], Problems()),
        {},
        victim="coco_ssd",
        plan=old_tasks.DetectionPlan(longest=48, resamples=5),
    )
    assert [(cell.victim, cell.metric) for cell in cells] == [
        ("coco_ssd", "mAP50"), ("coco_ssd", "mAP"),
    ]  # fmt: skip


def test_a_watcher_of_a_grid_sees_images_results_and_warnings(tmp_path, photos, offline):
    seen = []

    class Watcher(aliases.SilentGrid):
        def worked(self, what, done, total):
            seen.append((what, done, total))

        def finished(self, cell, done, total, *, kept):
            seen.append((cell.attack, done, total))

    plan = EvaluationPlan(DataSpec(str(photos), size=32), ("a",), (), ("none",))
    aliases.OLD["run_grid"][0](plan, tmp_path / "run", watch=Watcher())
    assert seen == [("clean on none", 6, 6), ("clean", 1, 1)]
