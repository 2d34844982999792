import json
import os

import pytest
import torch

from nrpurify.core.hashing import digest
from nrpurify.core.images import read_image, write_png
from nrpurify.data.coco import read_coco
from nrpurify.evaluation.harness import Batch
from nrpurify.tasks.attackers import prepare_attacks
from nrpurify.tasks.detection import DetectionPlan, SceneAttack, evaluate_detection
from nrpurify.tasks.plan import TaskPlan
from nrpurify.tasks.strips import View, write_strips

NAMES = ("a/1.jpg", "a/1.png", "b/1.jpg", "a/1.png.jpg")


def look(image):
    return image, "seen"


@pytest.mark.parametrize(
    "names", [("猫.jpg", "犬.jpg"), ("a/1.jpg", "a-1.jpg"), ("x" * 99, "x" * 98)]
)
def test_pictures_have_files_of_their_own(tmp_path, names):
    views = [View(name, torch.full((1, 3, 2, 2), k / 5), "") for k, name in enumerate(names)]
    strips = write_strips(tmp_path, views, look, None, None)
    for strip, view in zip(strips, views, strict=True):
        assert strip["name"] == view.name
        shown = read_image(tmp_path / strip["panels"][0]["file"])
        torch.testing.assert_close(shown.rgb, view.image[0])
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def scenes(tmp_path):
    """Pictures of one name in two folders; the file names are as odd as COCO's may be."""
    for k, place in enumerate(("a/1.png", "b/1.png")):
        write_png(tmp_path / "images" / place, torch.full((3, 12, 12), 0.2 + k / 2))
    odd = ("./a/1.png", str(tmp_path / "images" / "a" / ".." / "b" / "1.png"))
    data = {
        "images": [{"id": k, "file_name": name} for k, name in enumerate(odd)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"image_id": k, "category_id": 1, "bbox": [1, 1, 5, 5]} for k in range(2)],
    }
    (tmp_path / "x.json").write_text(json.dumps(data))
    return read_coco(tmp_path / "x.json", tmp_path / "images")


def test_scenes_are_named_by_their_place(scenes):
    assert [scene.name for scene in scenes.items] == ["a/1.png", "b/1.png"]


def nothing(images):
    empty = torch.zeros(0)
    return [{"boxes": torch.zeros(0, 4), "scores": empty, "labels": empty.long()} for _ in images]


def test_attacked_scenes_of_one_name_are_made_once(tmp_path, scenes):
    pytest.importorskip("faster_coco_eval")
    plan = TaskPlan("detect", tmp_path, annotations=tmp_path, attacks=("noise",))
    stamps = []
    for _ in range(2):
        (attack,) = prepare_attacks(plan, tmp_path / "run")
        evaluate_detection(
            nothing,
            scenes,
            {},
            [SceneAttack.of(attack)],
            victim="blind",
            plan=DetectionPlan(resamples=2),
        )
        files = sorted((tmp_path / "run").rglob("*.png"))
        stamps.append([file.stat().st_mtime_ns for file in files])
    assert [file.relative_to(tmp_path / "run" / "noise-16").as_posix() for file in files] == [
        "a/1.png",
        "b/1.png",
    ]
    assert stamps[0] == stamps[1]


def test_names_that_differ_in_their_suffix_are_kept_apart(tmp_path):
    plan = TaskPlan("segment", tmp_path, masks=tmp_path, attacks=("noise",))
    batches = [
        Batch(torch.full((1, 3, 8, 8), k / 5), torch.zeros(1).long(), [name])
        for k, name in enumerate(NAMES)
    ]
    (attack,) = prepare_attacks(plan, tmp_path)
    made = [attack.images(batch) for batch in batches]
    again = [attack.images(batch) for batch in batches]
    assert all(torch.equal(old, new) for old, new in zip(made, again, strict=True))
    files = [p.relative_to(tmp_path / "noise-16") for p in (tmp_path / "noise-16").rglob("*.png")]
    assert sorted(file.as_posix() for file in files) == [
        "a/1.png",
        "a/1.png.jpg.png",
        "a/1.png.png",
        "b/1.png",
    ]


def test_names_that_are_no_utf8_decide_cells_too():
    odd = [os.fsdecode(name) for name in (b"caf\xe9.jpg", b"caf\xe8.jpg")]
    assert digest([odd[0]]) != digest([odd[1]])
