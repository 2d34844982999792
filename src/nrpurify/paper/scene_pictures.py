"""Figure 8, appendix figures 4, 5 and 10: what detectors and SegNet see, attacked and purified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.image_files import find_images
from nrpurify.core.images import load_batch
from nrpurify.data.detection import Problems, SceneBuilder
from nrpurify.evaluation import DataSpec, EvaluationPlan
from nrpurify.evaluation.runner import prepare
from nrpurify.evaluation.tasks import Samples
from nrpurify.paper import scenes, trained
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import CellNotes
from nrpurify.paper.planned import read_values
from nrpurify.paper.provenance import chosen


def _images(bench: Bench, task: str, page: int) -> Samples:
    """The figure's images; those of a second page of one kind are others, where there are enough.

    Raises:
        InputError: There are no street scenes.
    """
    if task == "segment":
        if bench.scale != "smoke" and bench.frames is None:
            raise InputError(f"no street scenes were given; {scenes.NO_FRAMES}")
        folder = scenes.open_frames(bench)[0] if bench.scale == "smoke" else bench.frames
        assert folder is not None
        return _samples(bench, page, [file.path for file in find_images(folder, recursive=True)])
    if bench.scenes is not None:
        files = find_images(bench.scenes, recursive=True)
        return _samples(bench, page, [file.path for file in files], scenes.longest(bench))
    paths = [item.path for item in bench.items()]

    def crop(path: Path) -> Tensor:
        return load_batch([path], bench.side, crop=True)[0]

    return _samples(bench, page, paths, None, crop)


def _samples(
    bench: Bench,
    page: int,
    paths: list[Path],
    longest: int | None = None,
    load: Callable[[Path], Tensor] | None = None,
) -> Samples:
    count, total = bench.pick(2, 4, 8), len(paths)
    paths = paths[: bench.limit]
    start = page * count if page * count < len(paths) else 0
    paths = paths[start:][:count]

    def read(index: int) -> tuple[Tensor, Any]:
        if load is not None:
            return load(paths[index]), None
        image, _ = SceneBuilder(paths[index], Problems()).build().read(longest)
        return image[0], None

    rule = f"{chosen(len(paths), start)} of {total} images, in the order of their paths"
    if longest is not None:
        rule += f", scaled down to a longer side of {longest} pixels"
    side = None if load is None else bench.side
    return Samples(
        paths,
        read,
        {"longest": longest, "side": side},
        folder=paths[0].parent.name,
        size=side,
        rule=rule,
        labeled=False,
    )


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Draw the answers to the first images, clean, attacked and purified.

    Raises:
        InputError: There is no trained generator for CDA, or there are no images.
    """
    values = read_values(experiment.name, bench.scale)
    task, name = values["shows"]["task"], values["shows"]["victim"]
    ((attack, eps),) = values["shows"]["attacks"].items()
    if attack == "cda" and not bench.generators():
        raise InputError(f"{experiment.name} shows CDA, and the package has no trained generator")
    samples = _images(bench, task, values.get("page", 0))
    victim, model = scenes.victim(bench, task, name)
    spec = trained.spec(bench, "nrp")
    assert spec is not None
    plan = EvaluationPlan(
        DataSpec(),
        victims=(victim,),
        attacks=(next(scenes.budgets(bench, attack, eps)),),
        defenses=("none", spec),
        task=task,
        gallery=len(samples),
        name=experiment.name,
        title=experiment.heading,
        seed=bench.seed,
        amp=bench.amp,
    )
    with prepare(
        plan,
        bench.out,
        items=samples,
        models={victim: model},
        resume=bench.resume,
        device=bench.device,
        progress=CellNotes(bench),
    ) as evaluation:
        run = evaluation.show()
    told = "; ".join(
        f"{key}: {panel['caption']}"
        for key, panel in zip(
            ("clean", "attacked", "purified"), run.strips[0]["panels"], strict=True
        )
    )
    here = f"{len(run.strips)} strips in strips/; the first one: {told}"
    return Outcome(run, {}, [Finding(experiment.claims[0], here)])
