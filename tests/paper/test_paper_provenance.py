"""What decided a result is in its run.json: images, rule, weights, settings and seed."""

import json

import pytest
import torch

from nrpurify.cli import main
from nrpurify.core.errors import InputError
from nrpurify.core.images import write_png
from nrpurify.core.precision import arithmetic
from nrpurify.data.annotations import read_annotations
from nrpurify.models.detectors import load_detector
from nrpurify.paper import Bench, run_experiment, scenes
from nrpurify.paper.provenance import Data, joined
from nrpurify.paper.smoke import tiny_networks


@pytest.fixture
def street(tmp_path, monkeypatch):
    """Three photos of 40×60 pixels with a box each; detectors are random ones."""
    folder, generator = tmp_path / "street", torch.Generator().manual_seed(0)
    files = [f"{k}.png" for k in range(3)]
    for file in files:
        write_png(folder / file, torch.rand(3, 40, 60, generator=generator))
    table = {
        "images": [{"id": k, "file_name": file} for k, file in enumerate(files)],
        "annotations": [
            {"image_id": k, "category_id": 1, "bbox": [4, 4, 16, 16]} for k in range(3)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(table))
    monkeypatch.setattr(
        scenes, "load_detector", lambda name, **_: load_detector(name, pretrained=False)
    )
    return {"scenes": folder, "annotations": tmp_path / "boxes.json"}


@pytest.mark.slow
def test_scenes_are_named_and_not_the_photographs(street, tmp_path):
    pytest.importorskip("torchmetrics")
    with tiny_networks():
        bench = Bench("small", tmp_path / "out", limit=2, seed=3, **street)
        run = run_experiment("table4", bench).run
    assert run["images"] == {
        "folder": "street", "n": 2, "size": None, "rule": "the first of the annotations",
    }  # fmt: skip
    assert set(run["weights_sha256"]) == {"centernet", "coco_ssd", "features of vgg16"}
    assert run["seed"] == 3
    parts = run["settings"]["parts"]
    assert [part["victim"] for part in parts] == ["centernet", "coco_ssd"]
    assert parts[0]["labels"] == "boxes.json"
    assert parts[0]["longest"] == 480
    assert parts[0]["precision"] == arithmetic("auto", "cpu")
    wanted = {"name": "ssp", "eps": [16 / 255], "steps": 30, "layer": ["conv3_3"]}
    assert wanted.items() <= parts[0]["attacks"][1].items()


def test_scenes_may_have_texts_in_place_of_one_file(street, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for photo in street["scenes"].glob("*.png"):
        (texts / f"{photo.stem}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    bench = Bench("small", tmp_path / "out", scenes=street["scenes"], annotations=texts)
    found = read_annotations(*scenes.scene_files(bench)).items
    assert [scene.name for scene in found] == ["0.png", "1.png", "2.png"]
    assert found[0].boxes.tolist() == [pytest.approx([18, 12, 42, 28])]


def test_pictures_of_a_detector_show_the_scenes(street, tmp_path):
    bench = Bench("small", tmp_path / "out", scenes=street["scenes"])
    run = run_experiment("figure8", bench).run
    assert [strip["name"] for strip in run["strips"]] == ["0.png", "1.png", "2.png"]
    assert run["images"]["folder"] == "street"
    assert run["images"]["rule"].startswith("the first 3 of 3 images, in the order of their paths")
    assert set(run["weights_sha256"]) == {"coco_ssd", "fast", "trained cda"}
    assert [attack["name"] for attack in run["settings"]["attacks"]] == ["cda"]


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("appendix-table1", {"tiny:Res-152", "fast:mode=dynamic", "fast"}),
        ("appendix-table2", {"fast"}),
        ("appendix-table6", {"segnet-basic-camvid", "features of vgg16", "fast"}),
        ("appendix-figure4", {"segnet-basic-camvid", "features of vgg16", "fast"}),
    ],
)
def test_each_stores_hashes_and_settings(name, used, tmp_path):
    run = run_experiment(name, Bench("smoke", tmp_path)).run
    assert set(run["weights_sha256"]) == used
    assert all(len(sha256) == 64 for sha256 in run["weights_sha256"].values())
    assert set(run["settings"]) > {"paper"}
    assert "processor" in run["versions"]
    auto = arithmetic("auto", "cpu")  # of transfers; others name theirs in each cell
    if name == "appendix-table2":
        auto = "fp32"
    elif name == "appendix-table6":  # several runs in one
        auto = " and ".join(sorted({"fp32", auto}))
    assert run["precision"] == auto
    assert set(run["images"]) == {"folder", "n", "size", "rule"}
    if name == "appendix-table2":
        assert run["images"]["rule"] == "no images are used"


@pytest.mark.slow
def test_a_table_of_two_tasks_tells_both(tmp_path):
    pytest.importorskip("torchmetrics")
    run = run_experiment("table2", Bench("smoke", tmp_path)).run
    assert {"tiny:IncRes-v2-ens", "coco_ssd", "fast", "trained cda"} <= set(run["weights_sha256"])
    (part,) = run["settings"]["parts"]
    assert part["images"]["n"] == 2
    assert "labeled images" in run["images"]["rule"]
    assert "annotations" in run["images"]["rule"]


def test_a_grid_names_the_folder_and_of_how_many_it_took_the_first(tmp_path):
    for label in range(3):
        write_png(tmp_path / "photos" / f"{label}" / "a.png", torch.rand(3, 32, 32))
    bench = Bench("small", tmp_path / "out", images=tmp_path / "photos", limit=2)
    images = run_with_tiny(bench)["images"]
    assert images["folder"] == "photos"
    assert images["n"] == 2
    assert images["rule"].startswith("the first 2 of 3 labeled images")


def run_with_tiny(bench):
    from nrpurify.paper import get
    from nrpurify.paper.grids import Grid, measure

    grid = Grid((), ("Inc-v3",), lambda spot: ("clean", spot.victim))
    with tiny_networks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "nrpurify.evaluation.classification.check_labels",
            lambda found, *_, **__: dict.fromkeys(found, 10),
        )
        return measure(bench, get("table5"), grid).run


def test_several_folders_are_joined():
    frames, boxes = Data("frames", 3, None, "all"), Data("coco", 5, None, "the first")
    assert joined([frames, Data("frames", 2, None, "all")]) == vars(frames)
    assert joined([frames, boxes]) == {
        "folder": "frames and coco", "n": 8, "size": None, "rule": "frames: all; coco: the first",
    }  # fmt: skip


def test_smoke_refuses_images_that_it_would_not_use(tmp_path, capsys):
    with pytest.raises(InputError, match=r"--scenes, --annotations given; .* choose --scale small"):
        Bench("smoke", tmp_path, scenes=tmp_path, annotations=tmp_path / "x.json")
    options = ["--scale", "smoke", "--scenes", "/nonexistent", "--out", str(tmp_path / "out")]
    assert main(["paper", "run", "table4", *options]) == 2
    assert "--scenes given; the scale smoke" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
