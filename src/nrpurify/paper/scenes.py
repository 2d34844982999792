"""Detection and segmentation for the experiments: data, victims, attacks, cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nrpurify.attacks.trained import shipped
from nrpurify.core.files import write_json
from nrpurify.core.hashing import slug
from nrpurify.core.images import write_png
from nrpurify.evaluation import DataSpec, EvaluationPlan, PlannedAttack
from nrpurify.evaluation import run as run_plan
from nrpurify.models.detectors import load_detector
from nrpurify.models.segmenters import load_segmenter
from nrpurify.paper import smoke, trained
from nrpurify.paper.bench import Bench
from nrpurify.paper.grids import CellNotes
from nrpurify.paper.provenance import Data, Measured, described

DETECTORS = {
    "Mask-RCNN": {
        "smoke": "coco_ssd",
        "small": "coco_ssd",
        "full": "torchvision:maskrcnn_resnet50_fpn",
    },
    "RetinaNet": {
        "smoke": "centernet",
        "small": "centernet",
        "full": "torchvision:retinanet_resnet50_fpn",
    },
}
SEGMENTER = "segnet-basic-camvid"
NO_SCENES = "give --scenes FOLDER --annotations FILE (photos with objects)"
NO_FRAMES = "give --frames FOLDER --masks FOLDER (street scenes such as CamVid's test set)"


def detector_name(bench: Bench, name: str) -> str:
    """The detector that plays the paper's ``name``."""
    return DETECTORS[name][bench.scale]


def has_scenes(bench: Bench) -> bool:
    """Whether there are photos with objects."""
    return bench.scale == "smoke" or None not in (bench.scenes, bench.annotations)


def has_frames(bench: Bench) -> bool:
    """Whether there are street scenes with masks."""
    return bench.scale == "smoke" or None not in (bench.frames, bench.masks)


def longest(bench: Bench) -> int:
    """Photos with objects are scaled down to this longer side in pixels."""
    return bench.pick(64, 480, 1333)


def scene_files(bench: Bench) -> tuple[Path, Path]:
    """Annotations and folder of the photos with objects; for smoke generated ones."""
    if bench.scale == "smoke":
        items = smoke.pictures(bench.out / "generated", 2)
        return _generated_boxes(bench, [item.path for item in items]), items[0].path.parent
    assert bench.scenes is not None
    assert bench.annotations is not None
    return bench.annotations, bench.scenes


def _generated_boxes(bench: Bench, paths: Sequence[Path]) -> Path:
    side = smoke.SIDE
    images = [
        {"id": k, "file_name": path.name, "height": side, "width": side}
        for k, path in enumerate(paths)
    ]
    boxes = [
        {
            "id": k,
            "image_id": k,
            "category_id": 1,
            "bbox": [4, 4, 16, 16],
            "area": 256,
            "iscrowd": 0,
            "segmentation": [[4, 4, 20, 4, 20, 20, 4, 20]],
        }
        for k, _ in enumerate(paths)
    ]
    table = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    file = bench.out / "generated-boxes.json"
    write_json(file, table)
    return file


def open_frames(bench: Bench) -> tuple[Path, Path]:
    """Folders of street scenes and masks; for smoke generated ones."""
    if bench.scale == "smoke":
        return _generated_frames(bench.out)
    assert bench.frames is not None
    assert bench.masks is not None
    return bench.frames, bench.masks


def _generated_frames(out: Path) -> tuple[Path, Path]:
    from PIL import Image

    frames, masks = out / "generated-frames", out / "generated-masks"
    for index in range(2):
        picture = F.interpolate(smoke.picture(index)[None], scale_factor=2, mode="nearest")[0]
        write_png(frames / f"{index}.png", picture)
        masks.mkdir(parents=True, exist_ok=True)
        row = torch.arange(picture.shape[-1]) * 11 // picture.shape[-1]
        mask = row.expand(picture.shape[1:]).to(torch.uint8).contiguous()
        Image.fromarray(mask.numpy()).save(masks / f"{index}.png")
    return frames, masks


def specs_of(bench: Bench, specs: Mapping[str, str]) -> dict[str, str]:
    """The paper's name of a defense by its spec, ``nrp`` being the bench's purifier."""
    found = {trained.spec(bench, given): name for name, given in specs.items()}
    return {spec: name for spec, name in found.items() if spec is not None}


def detect(
    bench: Bench, name: str, specs: Mapping[str, str], chosen: Sequence[PlannedAttack], task: str
) -> Measured:
    """mAP50 and mAP of the detector that plays ``name`` under the attacks ``chosen``."""
    victim = detector_name(bench, name)
    detector = load_detector(victim, pretrained=bench.scale != "smoke", device=bench.device)
    annotations, folder = scene_files(bench)
    kind = "masks" if task == "instances" else "boxes"
    plan = EvaluationPlan(
        DataSpec(str(folder), annotations=str(annotations), longest=longest(bench)),
        task=task,
        metrics=(f"mAP:kind={kind},resamples={bench.pick(10, 1000, 1000)}",),
    )
    rule = "the first of the annotations" if bench.limit else "all of the annotations"
    return _measured(bench, plan, {victim: detector}, specs, chosen, _name(bench.scenes), rule)


def segment(bench: Bench, specs: Mapping[str, str], chosen: Sequence[PlannedAttack]) -> Measured:
    """Pixel accuracy and mIoU of SegNet-Basic under the attacks ``chosen``."""
    segmenter = load_segmenter(SEGMENTER, pretrained=bench.scale != "smoke", device=bench.device)
    frames, masks = open_frames(bench)
    plan = EvaluationPlan(DataSpec(str(frames), masks=str(masks)), task="segment")
    rule = "the first with masks, in the order of their names" if bench.limit else "all with masks"
    return _measured(bench, plan, {SEGMENTER: segmenter}, specs, chosen, _name(bench.frames), rule)


def _measured(
    bench: Bench,
    plan: EvaluationPlan,
    models: Mapping[str, nn.Module],
    specs: Mapping[str, str],
    chosen: Sequence[PlannedAttack],
    folder: str,
    rule: str,
) -> Measured:
    """Run a plan of one victim into a sub-folder of the bench."""
    (victim,) = models
    plan = replace(
        plan.with_data(limit=bench.limit),
        victims=(victim,),
        attacks=tuple(chosen),
        defenses=tuple(dict.fromkeys(("none", *specs_of(bench, specs)))),
        gallery=0,
        name=f"{plan.task}-{victim}",
        seed=bench.seed,
        amp=bench.amp,
    )
    run = run_plan(
        plan,
        bench.out / slug(plan.name),
        models=models,
        resume=bench.resume,
        device=bench.device,
        progress=CellNotes(bench),
    )
    data = Data(folder, run.images["n"], None, rule)
    settings: dict[str, Any] = {
        "task": plan.task,
        "victim": victim,
        "defenses": list(plan.defenses),
        "attacks": [described(attack) for attack in chosen],
        "precision": run.precision,
    }
    if plan.data.masks:
        settings["labels"] = _name(bench.masks)
    else:
        settings |= {"labels": _name(bench.annotations), "longest": plan.data.longest}
    return Measured(list(run.cells), data, run.weights_sha256, settings)


def _name(folder: Path | None) -> str:
    return "generated" if folder is None else folder.name


def budgets(bench: Bench, name: str, eps: Sequence[int]) -> Iterator[PlannedAttack]:
    """The attack ``ssp`` or ``cda`` at budgets in 1/255; none without a generator.

    CDA's attacks carry the domain of their generator as label.
    """
    for value in eps:
        if name == "ssp":
            yield PlannedAttack(
                "ssp",
                (value / 255,),
                surrogate=("vgg16",),
                layer=("conv3_3",),
                steps=bench.pick(2, 30, 100),
            )
            continue
        for domain, file in bench.generators().items():
            own = "" if file == shipped().get("cda") else str(file)
            yield PlannedAttack("cda", (value / 255,), trained=own, label=domain)
