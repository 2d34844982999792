"""Detection and segmentation for the experiments: data, victims, attacks, cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify import attacks, defenses
from nrpurify.attacks.trained import load_generator, shipped
from nrpurify.core.checkpoint import read_carded
from nrpurify.core.files import write_json
from nrpurify.core.images import write_png
from nrpurify.core.precision import arithmetic
from nrpurify.data.annotations import read_annotations
from nrpurify.data.coco import read_coco
from nrpurify.data.detection import Scenes
from nrpurify.evaluation.harness import Batch
from nrpurify.models import features
from nrpurify.models.detectors import load_detector
from nrpurify.models.segmenters import load_segmenter
from nrpurify.paper import smoke, trained
from nrpurify.paper.bench import Bench
from nrpurify.paper.provenance import Data, Measured, attack_hashes, described, hashes
from nrpurify.tasks.detection import (
    DetectionPlan,
    SceneAttack,
    evaluate_detection,
    ssp_attack,
)
from nrpurify.tasks.segmentation import LabeledFolder, evaluate_segmentation
from nrpurify.tasks.segmentation_cells import Attacked

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


def open_scenes(bench: Bench) -> Scenes:
    """The photos with objects; for smoke generated ones with one box each."""
    if bench.scale == "smoke":
        items = smoke.pictures(bench.out / "generated", 2)
        return read_coco(
            _generated_boxes(bench, [item.path for item in items]), items[0].path.parent
        )
    assert bench.scenes is not None
    assert bench.annotations is not None
    found = read_annotations(bench.annotations, bench.scenes)
    return Scenes(found.items[: bench.limit], found.problems)


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


def ssp_on(bench: Bench, eps: int) -> SceneAttack:
    """SSP in VGG16's conv3_3 at a budget in 1/255."""
    extractor = features.feature_extractor("vgg16", "conv3_3").to(bench.device)
    steps = bench.pick(2, 30, 100)
    attack = ssp_attack(extractor, eps=eps / 255, steps=steps, amp=bench.amp)
    used = hashes(bench, {"features of vgg16": extractor})
    known = {"layers": ["conv3_3"], **attack.settings, "weights_sha256": used}
    known["precision"] = arithmetic(bench.amp, bench.device)
    return replace(attack, settings=known)


def cda_on(bench: Bench, eps: int, domain: str = "ImageNet") -> SceneAttack | None:
    """CDA of the generator of a domain; None without one."""
    file = bench.generators().get(domain)
    if file is None:
        return None
    own = "" if file == shipped().get("cda") else file.name
    used = {f"trained cda {own}".strip(): read_carded(file)[0].sha256}
    network, attack = load_generator(file, device=bench.device), attacks.get("cda").function

    def run(image: Tensor, _: Generator) -> Tensor:
        return attack(network, image, eps=eps / 255)

    return SceneAttack(
        "cda",
        eps / 255,
        run,
        surrogate=own or "shipped generator",
        settings={"weights_sha256": used, "domain": domain, "trained": file.name},
    )


def made(bench: Bench, specs: Mapping[str, str]) -> dict[str, nn.Module]:
    """Defenses by spec, ``nrp`` being the bench's purifier; the headings are left aside."""
    found = {}
    for spec in (trained.spec(bench, given) for given in specs.values()):
        if spec is not None and spec != "none":
            found[spec] = defenses.make(spec, device=bench.device, seed=bench.seed)
    return found


def headings(bench: Bench, specs: Mapping[str, str]) -> dict[str, str]:
    """The paper's name of a defense by its spec."""
    found = {trained.spec(bench, given): name for name, given in specs.items()}
    return {spec: name for spec, name in found.items() if spec is not None}


def detect(
    bench: Bench, name: str, specs: Mapping[str, str], chosen: Sequence[SceneAttack], task: str
) -> Measured:
    """mAP50 and mAP of the detector that plays ``name`` under the attacks ``chosen``."""
    victim = detector_name(bench, name)
    detector = load_detector(victim, pretrained=bench.scale != "smoke", device=bench.device)
    behind = made(bench, specs)
    plan = DetectionPlan(
        task=task,
        longest=longest(bench),
        seed=bench.seed,
        resamples=bench.pick(10, 1000, 1000),
        device=bench.device,
    )
    weights = hashes(bench, {victim: detector, **behind}) | attack_hashes(chosen)
    cells = evaluate_detection(
        detector,
        open_scenes(bench),
        behind,
        chosen,
        victim=victim,
        plan=plan,
        basis={"weights": weights},
        watch=lambda what, done, total: bench.progress.note(f"{victim}, {what}: {done}/{total}"),
    )
    rule = "the first of the annotations" if bench.limit else "all of the annotations"
    return Measured(
        cells,
        Data(_name(bench.scenes), max(cell.n or 0 for cell in cells), None, rule),
        weights,
        _settings(task, victim, behind, chosen)
        | {
            "labels": _name(bench.annotations),
            "longest": plan.longest,
            "resamples": plan.resamples,
        },
    )


def segment(bench: Bench, specs: Mapping[str, str], chosen: Sequence[SceneAttack]) -> Measured:
    """Pixel accuracy and mIoU of SegNet-Basic under the attacks ``chosen``."""
    segmenter = load_segmenter(SEGMENTER, pretrained=bench.scale != "smoke", device=bench.device)
    behind = made(bench, specs)
    weights = hashes(bench, {SEGMENTER: segmenter, **behind}) | attack_hashes(chosen)
    cells = evaluate_segmentation(
        segmenter,
        LabeledFolder.read(*open_frames(bench), limit=bench.limit),
        {"none": nn.Identity(), **behind},
        [_attacked(bench, attack) for attack in chosen],
        seed=bench.seed,
        device=bench.device,
        basis={"weights": weights},
        watch=lambda done, total: bench.progress.note(f"{SEGMENTER}: {done}/{total}"),
    )
    rule = "the first with masks, in the order of their names" if bench.limit else "all with masks"
    return Measured(
        cells,
        Data(_name(bench.frames), max(cell.n or 0 for cell in cells), None, rule),
        weights,
        _settings("segment", SEGMENTER, behind, chosen) | {"labels": _name(bench.masks)},
    )


def _name(folder: Path | None) -> str:
    return "generated" if folder is None else folder.name


def _settings(
    task: str, victim: str, behind: Iterable[str], chosen: Iterable[SceneAttack]
) -> dict[str, Any]:
    attacks = [described(attack) for attack in chosen]
    return {"task": task, "victim": victim, "defenses": ["none", *behind], "attacks": attacks}


def _attacked(bench: Bench, attack: SceneAttack) -> Attacked:
    def images(batch: Batch) -> Tensor:
        with torch.enable_grad():
            parts = [attack.run(image, bench.generator()) for image in torch.split(batch.images, 1)]
        return torch.cat(parts).detach()

    assert attack.eps is not None
    return Attacked(
        attack.name,
        attack.eps,
        images,
        surrogate=attack.surrogate,
        steps=attack.steps,
        rounding="float",
        settings=attack.settings,
    )


def budgets(bench: Bench, name: str, eps: Sequence[int]) -> Iterator[SceneAttack]:
    """The attack ``ssp`` or ``cda`` at budgets in 1/255; none without a generator."""
    for value in eps:
        if name == "ssp":
            yield ssp_on(bench, value)
            continue
        for domain in bench.generators():
            attack = cda_on(bench, value, domain)
            if attack is not None:
                yield attack
