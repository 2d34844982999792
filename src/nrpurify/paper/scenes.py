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


def victim(bench: Bench, task: str, name: str) -> tuple[str, nn.Module]:
    """The network that plays the paper's ``name`` in a task: its name, and itself."""
    options: dict[str, Any] = {"pretrained": bench.scale != "smoke", "device": bench.device}
    if task == "segment":
        return SEGMENTER, load_segmenter(SEGMENTER, **options)
    found = DETECTORS[name][bench.scale]
    return found, load_detector(found, **options)


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


def measured(
    bench: Bench, task: str, name: str, specs: Mapping[str, str], chosen: Sequence[PlannedAttack]
) -> Measured:
    """What plays ``name`` in a task under the attacks ``chosen``: mAP50 and mAP, or pixel accuracy
    and mIoU.
    """
    network, model = victim(bench, task, name)
    if task == "segment":
        frames, masks = open_frames(bench)
        plan = EvaluationPlan(DataSpec(str(frames), masks=str(masks)))
        folder = _name(bench.frames)
        labels: dict[str, Any] = {"labels": _name(bench.masks)}
        rule = (
            "the first with masks, in the order of their names" if bench.limit else "all with masks"
        )
    else:
        annotations, photos = scene_files(bench)
        kind = "masks" if task == "instances" else "boxes"
        plan = EvaluationPlan(
            DataSpec(str(photos), annotations=str(annotations), longest=longest(bench)),
            metrics=(f"mAP:kind={kind},resamples={bench.pick(10, 1000, 1000)}",),
        )
        folder = _name(bench.scenes)
        labels = {"labels": _name(bench.annotations), "longest": longest(bench)}
        rule = "the first of the annotations" if bench.limit else "all of the annotations"
    plan = replace(
        plan.with_data(limit=bench.limit),
        victims=(network,),
        attacks=tuple(chosen),
        defenses=tuple(dict.fromkeys(("none", *specs_of(bench, specs)))),
        task=task,
        gallery=0,
        name=f"{task}-{network}",
        seed=bench.seed,
        amp=bench.amp,
    )
    run = run_plan(
        plan,
        bench.out / slug(plan.name),
        models={network: model},
        resume=bench.resume,
        device=bench.device,
        progress=CellNotes(bench),
    )
    settings: dict[str, Any] = {
        "task": task,
        "victim": network,
        "defenses": list(plan.defenses),
        "attacks": [described(attack) for attack in chosen],
        "precision": run.precision,
        **labels,
    }
    data = Data(folder, run.images["n"], None, rule)
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
