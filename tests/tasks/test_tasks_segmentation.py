import json

import pytest
import torch
from torch import nn

from nrpurify.core.callables import Function
from nrpurify.core.errors import InputError
from nrpurify.core.images import read_image, write_png
from nrpurify.data.masks import ClassTable
from nrpurify.defenses import make
from nrpurify.evaluation.cache import look_up
from nrpurify.models.segmenters import as_segmenter
from nrpurify.tasks.segmentation import LabeledFolder, evaluate_segmentation
from nrpurify.tasks.segmentation_cells import Attacked

TABLE = ClassTable(("dark", "light"), void=(2,))


class Threshold(nn.Module):
    """Light where red is above one half."""

    def forward(self, images):
        return torch.cat([0.5 - images[:, :1], images[:, :1] - 0.5], 1)


def grey(values):
    return (torch.tensor(values, dtype=torch.float32) / 255).expand(3, -1, -1)


@pytest.fixture
def data(tmp_path):
    """Four images, one half light; the attack darkens the light half of all but the first."""
    for index in range(4):
        light = grey([[100.0] * 4 + [140.0] * 4] * 6)
        write_png(tmp_path / "images" / f"{index}.png", light)
        write_png(tmp_path / "masks" / f"{index}.png", grey([[0.0] * 4 + [1.0] * 3 + [2.0]] * 6))
        dark = light if index == 0 else (light - 16 / 255)
        write_png(tmp_path / "attacked" / f"{index}.png", dark)
    return tmp_path


@pytest.fixture
def folder(data):
    return LabeledFolder.read(data / "images", data / "masks", TABLE)


@pytest.fixture
def segmenter():
    return as_segmenter(Threshold(), TABLE.names, name="threshold")


@pytest.fixture
def attacked(data):
    return Attacked("ssp", 16 / 255, look_up(data / "attacked"), "vgg16", 100)


def brighter(images):
    return (images + 16 / 255).clamp(0, 1)


def by_kind(cells):
    return {(c["attack"], c["defense"], c["metric"]): c for c in cells}


def test_cells_by_hand(segmenter, folder, attacked):
    seen = []
    cells = by_kind(
        evaluate_segmentation(
            segmenter,
            folder,
            {"none": lambda images: images, "brighter": brighter},
            [attacked],
            watch=lambda done, total: seen.append((done, total)),
        )
    )
    assert len(cells) == 8
    assert cells["clean", "none", "pixel accuracy"]["value"] == 1
    hit = cells["ssp", "none", "pixel accuracy"]
    assert hit["value"] == pytest.approx((7 + 3 * 4) / 28)
    assert hit["interval"][0] < hit["value"] < hit["interval"][1]
    assert (hit["n"], hit["steps"], hit["rounding"]) == (4, 100, "uint8")
    assert cells["ssp", "brighter", "pixel accuracy"]["value"] == 1
    # dark: 16 of 16 + 9 wrongly called dark; light: 3 of 12
    iou = cells["ssp", "none", "mIoU"]["value"]
    assert iou == pytest.approx((16 / 25 + 3 / 12) / 2)
    assert len({cell["id"] for cell in cells.values()}) == 8
    assert seen == [(done, 8) for done in range(1, 9)]
    json.dumps([cell.to_dict() for cell in cells.values()])


def test_known_cells_are_left_out_and_new_ones_told(segmenter, folder, attacked):
    told = []
    defenses = {"none": lambda images: images}
    first = evaluate_segmentation(segmenter, folder, defenses, [attacked], finished=told.append)
    assert told == first
    known = [cell["id"] for cell in first[:2]]
    rest = evaluate_segmentation(segmenter, folder, defenses, [attacked], known=known)
    assert [cell["id"] for cell in rest] == [cell["id"] for cell in first[2:]]
    other = evaluate_segmentation(segmenter, folder, defenses, basis={"sha256": "x"}, known=known)
    assert len(other) == 2


def test_what_is_left_out_is_counted_in_every_cell(data, segmenter):
    write_png(data / "masks" / "1.png", grey([[0.0] * 8] * 5))
    write_png(data / "masks" / "2.png", grey([[9.0] * 8] * 6))
    (data / "masks" / "3.png").unlink()
    folder = LabeledFolder.read(data / "images", data / "masks", TABLE)
    assert [pair.name for pair in folder.pairs] == ["0.png"]
    assert {p.kind for p in folder.problems} == {
        *("wrong size", "unknown value", "image without mask")
    }
    cells = evaluate_segmentation(segmenter, folder, {"none": lambda images: images})
    assert {tuple(sorted(cell["notes"])) for cell in cells} == {
        (
            "left out: 1 × image without mask",
            "left out: 1 × unknown value",
            "left out: 1 × wrong size",
        )
    }


def test_limit_takes_the_first(data):
    folder = LabeledFolder.read(data / "images", data / "masks", TABLE, limit=2)
    assert [pair.name for pair in folder.pairs] == ["0.png", "1.png"]


def test_folders_without_a_usable_pair(data, tmp_path):
    with pytest.raises(InputError, match=r"no pair of image and mask can be used; .*0 to 0"):
        LabeledFolder.read(data / "images", data / "masks", ClassTable(("one",)))


def test_a_pair_that_breaks_on_the_way_is_named(folder):
    folder.pairs[2].mask.write_bytes(b"")
    with pytest.raises(InputError, match=r"2\.png.*usable a moment ago"):
        list(folder.samples())


def test_classes_must_agree(folder):
    three = as_segmenter(nn.Conv2d(3, 3, 1), ("a", "b", "c"))
    with pytest.raises(InputError, match="has 3 classes, the masks' table 2"):
        evaluate_segmentation(three, folder, {})


def test_attacked_images_are_looked_at(data, segmenter, folder):
    small = Attacked("ssp", 8 / 255, look_up(data / "attacked"))
    with pytest.raises(AssertionError, match="left its box"):
        evaluate_segmentation(segmenter, folder, {"none": lambda images: images}, [small])
    (data / "attacked" / "3.png").unlink()
    missing = Attacked("ssp", 16 / 255, look_up(data / "attacked"))
    with pytest.raises(InputError, match=r"no attacked image for 3\.png"):
        evaluate_segmentation(segmenter, folder, {"none": lambda images: images}, [missing])


def test_the_fixture_is_within_its_budget(data):
    change = read_image(data / "images" / "1.png").rgb - read_image(data / "attacked" / "1.png").rgb
    assert float(change.abs().max()) == pytest.approx(16 / 255)


def test_a_random_defense_draws_the_same_under_every_condition(segmenter, folder, attacked):
    def values(conditions):
        defenses = {"noise": make("noise:std=0.2")}
        cells = evaluate_segmentation(segmenter, folder, defenses, conditions)
        return {cell["id"]: cell["value"] for cell in cells}

    other = Attacked("other", 0.5, lambda batch: batch.images)
    alone, last = values([attacked]), values([other, attacked])
    assert alone.items() <= last.items()


def test_passes_are_averaged_and_told(segmenter, folder):
    spec = "noise:std=0.2,passes=25"
    defenses = {spec: make(spec), "once": make("noise:std=0.2")}
    cells = by_kind(evaluate_segmentation(segmenter, folder, defenses))
    many, once = (cells["clean", name, "pixel accuracy"] for name in defenses)
    assert (many["draws"], once["draws"]) == (25, 1)
    assert many["value"] > once["value"] + 0.05


def test_logits_of_nan_are_no_class(segmenter, folder):
    segmenter.network = Function(lambda x: Threshold()(x) * torch.nan)
    with pytest.raises(InputError, match=r"behind the defense 'none' hold NaN .* for "):
        evaluate_segmentation(segmenter, folder, {"none": nn.Identity()})
