import contextlib
import io

import numpy as np
import pytest
import torch

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.data.detection import Truth
from nrpurify.evaluation.detection_metrics import AveragePrecision

pytest.importorskip("faster_coco_eval")
SIDE = 64


def truth(boxes, labels, crowd=None, masks=None):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    crowd = torch.zeros(len(boxes), dtype=torch.bool) if crowd is None else torch.tensor(crowd)
    return Truth(boxes, torch.as_tensor(labels, dtype=torch.int64), crowd, masks)


def found(boxes, scores, labels, **more):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.as_tensor(labels, dtype=torch.int64)
    return {"boxes": boxes, "scores": torch.as_tensor(scores), "labels": labels, **more}


def random_boxes(generator, count):
    corners = torch.rand(count, 2, generator=generator) * 40
    return torch.cat((corners, corners + 4 + torch.rand(count, 2, generator=generator) * 20), 1)


def fill(boxes):
    masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return masks


def random_images(count=12, masks=False):
    """Truths, and detections that are jittered truths among false ones."""
    generator = torch.Generator().manual_seed(3)
    for index in range(count):
        boxes = random_boxes(generator, index % 4)
        labels = torch.randint(1, 4, (len(boxes),), generator=generator)
        crowd = [index % 5 == 3 and k == 0 for k in range(len(boxes))]
        jitter = boxes + torch.randn(boxes.shape, generator=generator)
        guesses = torch.cat((jitter, random_boxes(generator, 3))).clamp(0, SIDE)
        classes = torch.cat((labels, torch.randint(1, 5, (3,), generator=generator)))
        scores = torch.rand(len(guesses), generator=generator)
        more = {"masks": fill(guesses)[:, None].float()} if masks else {}
        given = truth(boxes, labels, crowd or None, fill(boxes) if masks else None)
        yield found(guesses, scores, classes, **more), given


def fed(kind="boxes", **options):
    metric = AveragePrecision(kind)
    for one, given in random_images(masks=kind == "masks", **options):
        metric.add(one, given)
    return metric


def oracle(kind):
    """The same by pycocotools."""
    api = pytest.importorskip("pycocotools.coco")
    codes = pytest.importorskip("pycocotools.mask")
    from pycocotools.cocoeval import COCOeval

    images, truths, guesses = [], [], []

    def row(image, label, box, mask, **more):
        left, top, right, bottom = box.tolist()
        entry = {"image_id": image, "category_id": int(label), "iscrowd": 0, **more}
        entry["bbox"] = [left, top, right - left, bottom - top]
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]
        if kind == "masks":
            code = codes.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            entry |= {"segmentation": code, "area": float(codes.area(code))}
        return entry

    for image, (one, given) in enumerate(random_images(masks=True)):
        images.append({"id": image, "height": SIDE, "width": SIDE})
        for k, box in enumerate(given.boxes):
            crowd = int(given.crowd[k])
            truths.append(row(image, given.labels[k], box, given.masks[k], iscrowd=crowd))
        for k, box in enumerate(one["boxes"]):
            mask, score = one["masks"][k, 0] > 0, float(one["scores"][k])
            guesses.append(row(image, one["labels"][k], box, mask, score=score))
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for rows in (truths, guesses):
            side = api.COCO()
            numbered = [entry | {"id": k + 1} for k, entry in enumerate(rows)]
            categories = [{"id": k} for k in range(1, 5)]
            side.dataset = {"images": images, "annotations": numbered, "categories": categories}
            side.createIndex()
            sides.append(side)
        judge = COCOeval(*sides, "segm" if kind == "masks" else "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {"mAP": judge.stats[0], "mAP50": judge.stats[1]}


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_values_are_those_of_pycocotools(kind):
    values, want = fed(kind).values(), oracle(kind)
    assert 0.1 < want["mAP"] < want["mAP50"] < 0.95
    assert values == pytest.approx(want, abs=1e-6)


def test_box_values_are_those_of_torchmetrics():
    """Its thresholds are float32: a recall of exactly 0.6 counts as less."""
    detection = pytest.importorskip("torchmetrics.detection")
    other = detection.MeanAveragePrecision(backend="faster_coco_eval")
    for one, given in random_images():
        target = {"boxes": given.boxes, "labels": given.labels, "iscrowd": given.crowd.int()}
        other.update([one], [target])
    want = other.compute()
    assert fed().values() == pytest.approx(
        {"mAP50": float(want["map_50"]), "mAP": float(want["map"])}, abs=2e-3
    )


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_drawing_each_image_once_gives_the_value_itself(kind, monkeypatch):
    class Once:
        def integers(self, high, size):
            return np.arange(high)

    metric = fed(kind)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Once())
    intervals = metric.intervals(resamples=2)
    for name, value in metric.values().items():
        assert intervals[name] == pytest.approx((value, value), abs=1e-6)


def test_a_redrawn_image_counts_as_often_as_it_is_drawn(monkeypatch):
    right, missed = truth([[0, 0, 10, 10]], [1]), truth([[30, 30, 40, 40]], [1])
    metric = AveragePrecision()
    metric.add(found([[0, 0, 10, 10]], [0.9], [1]), right)
    metric.add(found([], [], []), missed)
    assert metric.values()["mAP50"] == pytest.approx(51 / 101)

    class Thrice:
        def integers(self, high, size):
            return np.array([0, 0])

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Thrice())
    assert metric.intervals(resamples=1)["mAP50"] == pytest.approx((1, 1))


def test_intervals_depend_on_the_seed_only():
    metric = fed()
    first = metric.intervals(resamples=50, seed=1)
    assert first == metric.intervals(resamples=50, seed=1)
    assert first != metric.intervals(resamples=50, seed=2)
    low, high = first["mAP50"]
    assert 0 <= low < high <= 1


def test_more_than_a_hundred_detections_are_cut_not_minus_one():
    metric = AveragePrecision()
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(150, 1)
    boxes[:-1] += 30
    metric.add(found(boxes, torch.linspace(0.1, 0.9, 150), [1] * 150), truth([[0, 0, 10, 10]], [1]))
    assert metric.values()["mAP50"] == pytest.approx(1)


def test_false_alarms_in_empty_images_count():
    metric = AveragePrecision()
    metric.add(found([[0, 0, 9, 9]], [0.5], [1]), truth([[0, 0, 9, 9]], [1]))
    assert metric.values()["mAP50"] == pytest.approx(1)
    metric.add(found([[0, 0, 9, 9]], [0.9], [1]), truth([], []))
    assert metric.values()["mAP50"] == pytest.approx(0.5)
    assert len(metric) == 2


def test_nothing_found_is_zero_and_no_object_an_error():
    metric = AveragePrecision()
    with pytest.raises(InputError, match="no image of 0 has an object"):
        metric.values()
    metric.add(found([], [], []), truth([[0, 0, 9, 9]], [1]))
    assert metric.values() == {"mAP50": 0, "mAP": 0}
    assert metric.intervals(resamples=3)["mAP"] == (0, 0)


def test_wrong_use():
    with pytest.raises(InputError, match="boxes, masks"):
        AveragePrecision("keypoints")
    with pytest.raises(InputError, match="the detector gave no masks"):
        AveragePrecision("masks").add(found([], [], []), truth([], []))
    metric = fed()
    with pytest.raises(InputError, match="resamples is 0"):
        metric.intervals(resamples=0)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtraError, match="nrpurify\\[tasks\\]"):
        AveragePrecision()
