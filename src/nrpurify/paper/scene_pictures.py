"""Figure 8, appendix figures 4 and 5: what detectors and SegNet see, clean, attacked, purified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify import defenses
from nrpurify.core.errors import InputError
from nrpurify.core.files import find_images
from nrpurify.core.images import write_png
from nrpurify.core.precision import arithmetic
from nrpurify.data.detection import Problems, SceneBuilder
from nrpurify.evaluation.networks import attack_spec
from nrpurify.evaluation.tasks import TASKS, Task
from nrpurify.models.detectors import load_detector
from nrpurify.models.segmenters import load_segmenter
from nrpurify.paper import scenes, trained
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.provenance import FEATURES, Data, chosen, described, hashes, photographs
from nrpurify.paper.runfolder import run_of

EPS = 16


@dataclass(frozen=True)
class SceneFigure:
    """A figure of pictures of another task.

    Attributes:
        attack: ``ssp`` or ``cda``.
        victim: The paper's detector; empty for SegNet.
        page: Of figures of the same kind: the second shows other images, where there are enough.
    """

    attack: str
    victim: str
    page: int = 0


_FIGURES = {
    "figure8": SceneFigure("cda", "Mask-RCNN"),
    "appendix-figure4": SceneFigure("ssp", ""),
    "appendix-figure5": SceneFigure("ssp", "RetinaNet"),
    "appendix-figure10": SceneFigure("cda", "Mask-RCNN", page=1),
}


def _model(bench: Bench, figure: SceneFigure) -> tuple[str, nn.Module, Task]:
    """The figure's detector, or SegNet-Basic: its name, itself and its task."""
    pretrained = bench.scale != "smoke"
    if not figure.victim:
        segmenter = load_segmenter(scenes.SEGMENTER, pretrained=pretrained, device=bench.device)
        return scenes.SEGMENTER, segmenter, TASKS.create("segment")
    name = scenes.detector_name(bench, figure.victim)
    detector = load_detector(name, pretrained=pretrained, device=bench.device)
    return name, detector, TASKS.create("detect")


def _images(bench: Bench, figure: SceneFigure, count: int) -> tuple[list[tuple[str, Tensor]], Data]:
    """Names and images, and where they come from."""
    if not figure.victim:
        if bench.scale != "smoke" and bench.frames is None:
            raise InputError(f"no street scenes were given; {scenes.NO_FRAMES}")
        frames = scenes.open_frames(bench)[0] if bench.scale == "smoke" else bench.frames
        assert frames is not None
        return _read(bench, frames, figure, count)
    if bench.scenes is not None:
        return _read(bench, bench.scenes, figure, count, scenes.longest(bench))
    start = _start(len(bench.items()), figure, count)
    images, _, names = bench.load(count, start)
    return list(zip(names, images, strict=True)), photographs(bench, count, start)


def _start(total: int, figure: SceneFigure, count: int) -> int:
    start = figure.page * count
    return start if start < total else 0


def _read(
    bench: Bench, folder: Path, figure: SceneFigure, count: int, longest: int | None = None
) -> tuple[list[tuple[str, Tensor]], Data]:
    files = find_images(folder, recursive=True)
    start = _start(len(files[: bench.limit]), figure, count)
    found = []
    for index, file in enumerate(files[: bench.limit][start:][:count]):
        image, _ = SceneBuilder(file.path, Problems()).build().read(longest)
        found.append((f"{index:05d}-{file.path.stem[:60]}", image[0].to(bench.device)))
    rule = f"{chosen(len(found), start)} of {len(files)} images, in the order of their paths"
    if longest is not None:
        rule += f", scaled down to a longer side of {longest} pixels"
    return found, Data(folder.name, len(found), None, rule)


@torch.no_grad()
def _strip(
    bench: Bench, name: str, views: Sequence[tuple[str, Tensor]], task: Task, model: nn.Module
) -> dict[str, Any]:
    panels = []
    for title, image in views:
        with torch.no_grad():
            picture, caption = task.render(model, image, task.predict(model, image[None])[0])
        for kind, shown in (("image", image), ("answer", picture)):
            file = f"{name}--{title}-{kind}.png".lower()
            write_png(bench.out / "strips" / file, shown.float().cpu())
            text = caption if kind == "answer" else ""
            panels.append(
                {"title": f"{title}, {kind}", "file": file, "caption": text, "correct": None}
            )
    return {"name": name, "label": "", "panels": panels}


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Draw the answers to the first images, clean, attacked and purified."""
    figure = _FIGURES[experiment.name]
    if figure.attack == "cda" and not bench.generators():
        raise InputError(f"{experiment.name} shows CDA, and the package has no trained generator")
    attack = next(scenes.budgets(bench, figure.attack, (EPS,)))
    images, data = _images(bench, figure, bench.pick(2, 4, 8))
    victim, model, task = _model(bench, figure)
    spec_of_attack = attack_spec(attack, attack.eps[0])
    network = spec_of_attack.load()
    if network is not None:
        network = network.to(bench.device)
    runner = spec_of_attack.runner(network, seed=bench.seed, amp=bench.amp)
    spec = trained.spec(bench, "nrp")
    assert spec is not None
    purifier = defenses.make(spec, device=bench.device, seed=bench.seed)
    strips = []
    for name, image in images:
        attacked = runner(image[None])
        with torch.no_grad():
            purified = purifier(attacked)
        views = (("Clean", image), ("Attacked", attacked[0]), ("Purified", purified[0]))
        strips.append(_strip(bench, name, views, task, model))
        bench.progress.note(f"{name} done")
    members = spec_of_attack.members(network).items() if figure.attack != "cda" else ()
    surrogates = {f"{FEATURES}{name}": member for name, member in members}
    trained_hashes = spec_of_attack.weights_sha256(network) if figure.attack == "cda" else {}
    run = run_of(
        bench,
        experiment.name,
        experiment.heading,
        [],
        data=[data],
        weights=hashes(bench, {victim: model, spec: purifier} | surrogates) | trained_hashes,
        settings={
            "victim": victim,
            "attack": {**described(attack), "precision": arithmetic(bench.amp, bench.device)},
            "defense": defenses.settings(spec),
        },
    )
    said = "; ".join(
        f"{panel['title'].split(',')[0].lower()}: {panel['caption']}"
        for panel in strips[0]["panels"]
        if panel["caption"]
    )
    here = f"{len(strips)} strips in strips/; the first one: {said}"
    return Outcome(replace(run, strips=strips), {}, [Finding(experiment.claims[0], here)])
