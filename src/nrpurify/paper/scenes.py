"""Detection and segmentation for the experiments: data, victims, attacks, cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from nrpurify import attacks, defenses, features
from nrpurify.attacks.trained import load_generator, shipped
from nrpurify.evaluation.harness import Batch
from nrpurify.files import write_json
from nrpurify.images import write_png
from nrpurify.models.detectors import load_detector
from nrpurify.models.segmenters import load_segmenter
from nrpurify.paper import smoke, trained
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Cell
from nrpurify.tasks.coco import read_coco
from nrpurify.tasks.detection import (
    DetectionPlan,
    SceneAttack,
    evaluate_detection,
    ssp_attack,
)
from nrpurify.tasks.scenes import Scenes
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
NO_SCENES = "give --scenes FOLDER --annotations COCO_JSON (photos with objects)"
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


def open_scenes(bench: Bench) -> Scenes:
    """The photos with objects; for smoke generated ones with one box each."""
    if bench.scale == "smoke":
        items = smoke.pictures(bench.out / "generated", 2)
        return read_coco(
            _generated_boxes(bench, [item.path for item in items]), items[0].path.parent
        )
    assert bench.scenes is not None
    assert bench.annotations is not None
    found = read_coco(bench.annotations, bench.scenes)
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
    extractor = features.feature_extractor("vgg16", "conv3_3")
    steps = bench.pick(2, 30, 100)
    return ssp_attack(extractor.to(bench.device), eps=eps / 255, steps=steps, amp="auto")


def cda_on(bench: Bench, eps: int) -> SceneAttack | None:
    """CDA of the shipped generator; None without one."""
    if "cda" not in shipped():
        return None
    network, attack = load_generator(device=bench.device), attacks.get("cda").function

    def run(image: Tensor, _: Generator) -> Tensor:
        return attack(network, image, eps=eps / 255)

    return SceneAttack("cda", eps / 255, run, surrogate="shipped generator")


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
) -> list[Cell]:
    """Cells (mAP50 and mAP) of the detector that plays ``name`` under the attacks ``chosen``."""
    victim = detector_name(bench, name)
    detector = load_detector(victim, pretrained=bench.scale != "smoke", device=bench.device)
    plan = DetectionPlan(
        task=task,
        longest=bench.pick(64, 480, 1333),
        seed=bench.seed,
        resamples=bench.pick(10, 1000, 1000),
        device=bench.device,
    )
    return evaluate_detection(
        detector,
        open_scenes(bench),
        made(bench, specs),
        chosen,
        victim=victim,
        plan=plan,
        watch=lambda what, done, total: bench.tell(f"{victim}, {what}: {done}/{total}"),
    )


def segment(bench: Bench, specs: Mapping[str, str], chosen: Sequence[SceneAttack]) -> list[Cell]:
    """Cells (pixel accuracy and mIoU) of SegNet-Basic under the attacks ``chosen``."""
    segmenter = load_segmenter(SEGMENTER, pretrained=bench.scale != "smoke", device=bench.device)
    return evaluate_segmentation(
        segmenter,
        LabeledFolder.read(*open_frames(bench), limit=bench.limit),
        {"none": nn.Identity(), **made(bench, specs)},
        [_attacked(bench, attack) for attack in chosen],
        seed=bench.seed,
        device=bench.device,
        watch=lambda done, total: bench.tell(f"{SEGMENTER}: {done}/{total}"),
    )


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
        attack = ssp_on(bench, value) if name == "ssp" else cda_on(bench, value)
        if attack is not None:
            yield attack
