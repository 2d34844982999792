"""Detection under attack and behind defenses: one cell for each of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from nrpurify.attacks.constraints import round_within
from nrpurify.attacks.ssp import ssp
from nrpurify.core.errors import InputError
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.core.random import derive_generator
from nrpurify.data.detection import Problems, Scene, Scenes
from nrpurify.evaluation.finite import check_finite
from nrpurify.evaluation.harness import Attack, Batch, check_budget
from nrpurify.evaluation.profiler import Meter
from nrpurify.models.detectors.boxes import Detections
from nrpurify.models.features import FeatureExtractor
from nrpurify.results import Result, result_id
from nrpurify.tasks import draws
from nrpurify.tasks.detection_metrics import METRICS, AveragePrecision
from nrpurify.tasks.segmentation_cells import Attacked

ImageMap = Callable[[Tensor], Tensor]
DetectorCall = Callable[[list[Tensor]], Sequence[Detections]]
TASKS = {"detect": "boxes", "instances": "masks"}


def _unchanged(image: Tensor, generator: Generator) -> Tensor:
    return image


@dataclass(frozen=True)
class SceneAttack:
    """An attack on whole images of any size.

    Attributes:
        name: What tables call it.
        eps: Budget in units of [0, 1]; None for no attack.
        run: Maps a 1×3×H×W image in [0, 1] and a CPU generator to the attacked image.
        steps: Iterations, None where there are none.
        surrogate: The network it works on.
        threat: The threat model.
        settings: Further settings, for the record.
        made: In place of ``run``: gives the attacked image of a batch of one by its name, which is
            that of the scene.
    """

    name: str
    eps: float | None
    run: Callable[[Tensor, Generator], Tensor] = _unchanged
    steps: int | None = None
    surrogate: str | None = None
    threat: str = "oblivious transfer"
    settings: Mapping[str, object] = field(default_factory=dict)
    made: Attack | None = None

    @classmethod
    def of(cls, attacked: Attacked) -> SceneAttack:
        """Take attacked images that were made outside."""
        return cls(
            attacked.attack,
            attacked.eps,
            steps=attacked.steps,
            surrogate=attacked.surrogate,
            threat=attacked.threat,
            settings=attacked.settings,
            made=attacked.images,
        )


CLEAN = SceneAttack("clean", None, threat="none")


def ssp_attack(
    extractor: FeatureExtractor,
    *,
    eps: float,
    steps: int = 100,
    surrogate: str = "vgg16",
    **options: Any,
) -> SceneAttack:
    """SSP (Algorithm 1) on whole images: it needs no labels, so detectors need nothing of it.

    Args:
        extractor: The features attacked.
        eps: Budget in (0, 1].
        steps: T.
        surrogate: The extractor's name, for the record.
        options: Further ones of :func:`nrpurify.attacks.ssp.ssp`.
    """

    def run(image: Tensor, generator: Generator) -> Tensor:
        return ssp(extractor, image, eps=eps, steps=steps, generator=generator, **options)

    settings = {key: value for key, value in options.items() if value is not None}
    return SceneAttack("ssp", eps, run, steps, surrogate, settings=settings)


@dataclass
class _Row:
    """What is being counted for one attack and one defense."""

    precision: AveragePrecision
    seconds: float = 0.0
    peak_memory_mb: float | None = None

    def timed(self, meter: Meter) -> None:
        self.seconds += meter.seconds
        if meter.peak_memory_mb is not None:
            self.peak_memory_mb = max(self.peak_memory_mb or 0.0, meter.peak_memory_mb)


@dataclass(frozen=True)
class DetectionPlan:
    """How detection is evaluated.

    Attributes:
        task: ``detect`` (boxes) or ``instances`` (masks).
        longest: Scale images down so that no side has more pixels; None leaves them.
        rounding: ``uint8``: attacked images are rounded as a PNG file does; ``float``: they are
            not.
        seed: Of the attacks (a generator for each image) and the bootstrap.
        resamples: Of the bootstrap.
        device: Where attacks, defenses and detector work.
    """

    task: str = "detect"
    longest: int | None = None
    rounding: str = "uint8"
    seed: int = 0
    resamples: int = 1000
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise InputError for a value that cannot be used."""
        for name, known in (("task", tuple(TASKS)), ("rounding", ("uint8", "float"))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {known}")
        if self.longest is not None and self.longest < 1:
            raise InputError(f"longest is {self.longest}; expected at least 1 pixel, or None")


def evaluate_detection(
    detector: DetectorCall,
    scenes: Scenes,
    defenses: Mapping[str, ImageMap],
    attacks: Sequence[SceneAttack] = (),
    *,
    victim: str,
    plan: DetectionPlan | None = None,
    basis: Mapping[str, Any] | None = None,
    known: Collection[str] = (),
    finished: Callable[[Result], None] | None = None,
    watch: Callable[[str, int, int], None] | None = None,
) -> list[Result]:
    """Measure a detector behind every defense on clean images and under every attack.

    Images go through one by one at their own size, so memory does not grow with their number; each
    is attacked once, for all defenses.

    Args:
        detector: Takes a list of 3×H×W images in [0, 1] and returns torchvision's dicts.
        scenes: Images and objects, as the readers of :mod:`nrpurify.tasks` give them.
        defenses: Maps from 1×3×H×W images to the same, by name; ``none`` is added in front. What
            is random draws the same under every attack.
        attacks: Beside no attack at all.
        victim: The detector's name in the cells.
        plan: How; by default as :class:`DetectionPlan` says.
        basis: What else decides the values, such as hashes of weights; goes into the cells' ids.
        known: Ids of cells that were measured before and are left out.
        finished: Called with each cell as soon as it is measured.
        watch: Called with (attack, images done, images in all).

    Returns:
        Cells, two (mAP50 and mAP) for each attack and defense.

    Raises:
        InputError: Nothing to evaluate, a defense that asks for several passes, or masks are asked
            for where there are none.
        ImageError: An image file is broken.
        AssertionError: An attack left its budget or [0, 1].
    """
    plan = plan or DetectionPlan()
    for spec, module in defenses.items():
        draws.check_one_pass(spec, module, plan.task)
    scenes = usable(scenes, plan.task)
    notes = scenes.problems.lines()
    every = {"none": lambda images: images} | dict(defenses)
    cells: list[Result] = []
    again = draws.remembered(defenses)
    for attack in (CLEAN, *attacks):
        ids = {name: cell_ids(attack, name, victim, plan, basis) for name in every}
        chosen = {d: every[d] for d, found in ids.items() if not set(found.values()) <= set(known)}
        again()
        rows = _measure(detector, scenes.items, chosen, attack, plan, watch) if chosen else {}
        for defense, row in rows.items():
            for cell in _cells(row, attack, defense, victim, plan, notes, ids[defense]):
                cells.append(cell)
                if finished is not None:
                    finished(cell)
    return cells


def cell_ids(
    attack: SceneAttack,
    defense: str,
    victim: str,
    plan: DetectionPlan,
    basis: Mapping[str, Any] | None,
) -> dict[str, str]:
    """The id of each metric's result, see :func:`nrpurify.results.result_id`.

    Args:
        attack: Or :data:`CLEAN`.
        defense: Its name.
        victim: The detector's name.
        plan: How it is measured.
        basis: What else decides the values, as plain values.
    """
    how = {key: value for key, value in asdict(plan).items() if key != "device"}
    decided = {
        **{"task": plan.task, "attack": attack.name, "eps": attack.eps, "steps": attack.steps},
        **{"surrogate": attack.surrogate, "settings": dict(attack.settings)},
        **{"defense": defense, "victim": victim, "plan": how, "basis": dict(basis or {})},
    }
    return {metric: result_id({**decided, "metric": metric}) for metric in METRICS}


def usable(scenes: Scenes, task: str) -> Scenes:
    """The scenes that a task can be measured on; for ``instances`` those without outlines go.

    What goes is counted and named in the problems of the scenes returned.

    Args:
        scenes: As read.
        task: ``detect`` or ``instances``.

    Raises:
        InputError: No scene is left, or none of them has an object.
    """
    problems = Problems({kind: list(cases) for kind, cases in scenes.problems.found.items()})
    items = []
    for scene in scenes.items:
        if task == "instances" and scene.outlines is None:
            problems.add("image left out, it has no outlines", scene.name)
        else:
            items.append(scene)
    said = "".join(f"; {line}" for line in problems.lines())
    if not items:
        raise InputError(f"no image to evaluate {task!r} on{said}")
    if all(bool(scene.crowd.all()) for scene in items):  # of no object all are crowds
        raise InputError(
            f"none of the {len(items)} images has an object; mAP needs some: do the annotations "
            f"belong to these images?{said}"
        )
    return Scenes(items, problems)


@torch.no_grad()
def _measure(
    detector: DetectorCall,
    scenes: Sequence[Scene],
    defenses: Mapping[str, ImageMap],
    attack: SceneAttack,
    plan: DetectionPlan,
    watch: Callable[[str, int, int], None] | None,
) -> dict[str, _Row]:
    kind: Any = TASKS[plan.task]
    rows = {name: _Row(AveragePrecision(kind)) for name in defenses}
    for done, scene in enumerate(scenes, 1):
        image, truth = scene.read(plan.longest, masks=kind == "masks")
        attacked = _attacked(attack, image.to(plan.device), plan, scene.name)
        for name, defense in defenses.items():
            with Meter(plan.device) as meter:
                defended = defense(attacked)
                found = detector([defended[0]])[0]
            rows[name].timed(meter)
            check_finite(defended, [scene.name], "images", name)
            for key in ("boxes", "scores"):
                check_finite(found[key][None], [scene.name], key, name)
            rows[name].precision.update(found, truth)
        if watch is not None:
            watch(attack.name, done, len(scenes))
    return rows


def _attacked(attack: SceneAttack, image: Tensor, plan: DetectionPlan, name: str) -> Tensor:
    """The attacked image; with rounding, clean and attacked both lie on the grid of 8 bits."""
    clean = _rounded(image, plan)
    if attack.made is not None:
        attacked = attack.made(Batch(clean, torch.zeros(1, dtype=torch.int64), [name]))
    else:
        generator = derive_generator(plan.seed, "attack", name)
        with torch.enable_grad():
            attacked = attack.run(clean, generator).detach()
    check_budget(clean, attacked, attack.eps or 0.0)
    if plan.rounding == "float":
        return attacked
    return round_within(attacked, clean, attack.eps or 0.0)


def _rounded(images: Tensor, plan: DetectionPlan) -> Tensor:
    return from_uint8(to_uint8(images)) if plan.rounding == "uint8" else images


def _cells(
    row: _Row,
    attack: SceneAttack,
    defense: str,
    victim: str,
    plan: DetectionPlan,
    notes: list[str],
    ids: Mapping[str, str],
) -> list[Result]:
    values = row.precision.values()
    intervals = row.precision.intervals(resamples=plan.resamples, seed=plan.seed)
    return [
        Result(
            id=ids[name],
            task=plan.task,
            metric=name,
            value=values[name],
            interval=intervals[name],
            attack=attack.name,
            surrogate=attack.surrogate,
            eps=attack.eps,
            norm=None if attack.eps is None else "linf",
            steps=attack.steps,
            threat=attack.threat,
            defense=defense,
            victim=victim,
            n=len(row.precision),
            rounding=plan.rounding,
            precision=str(attack.settings["precision"]) if "precision" in attack.settings else None,
            seconds=row.seconds,
            peak_memory_mb=row.peak_memory_mb,
            seed=plan.seed,
            settings={"longest": plan.longest, "resamples": plan.resamples, **attack.settings},
            notes=notes,
        )
        for name in METRICS
    ]
