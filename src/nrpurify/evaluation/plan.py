"""What an evaluation measures: one plan for every task, readable from YAML."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any, ClassVar, Literal

from nrpurify.core.groups import GROUP
from nrpurify.core.precision import Amp
from nrpurify.evaluation.kinds import check_kinds

Threat = Literal[
    "oblivious transfer",
    "surrogate purifier",
    "surrogate purifier + BPDA",
    "BPDA",
    "full gradient",
    "EOT",
    "score-based",
]
OWN_PURIFIER = ("surrogate purifier", "surrogate purifier + BPDA")
"""Threats with a purifier of the attacker's own."""


@dataclass(frozen=True)
class DataSpec:
    """Which images, and what is known of them. Tasks take different fields.

    Attributes:
        folder: Of images; for ``classify`` without ``labels`` one sub-folder a class. Empty when
            the caller has the images.
        labels: classify: a CSV, see :func:`nrpurify.data.labels.read_labels_csv`.
        classes: classify without ``labels``: a text file of the sub-folders' names in the order of
            the victims' classes; empty for numbers, or alphabetical order. detect, instances: a
            file of the names of YOLO's class numbers; empty for what
            :func:`nrpurify.data.yolo.read_yolo` finds.
        annotations: detect, instances: a COCO JSON file, or a folder of YOLO text files.
        masks: segment: a folder of class masks.
        limit: The first so many by name; None for all.
        size: classify: side in pixels, short side resized, center cropped.
        longest: detect, instances: images are scaled down to this longer side; None leaves them.
        check_labels: classify: refuse to run when the undefended victims are no better than chance.

    Raises:
        RecipeError: A value of another kind, such as one text where a tuple of them goes.
    """

    folder: str = ""
    labels: str = ""
    classes: str = ""
    annotations: str = ""
    masks: str = ""
    limit: int | None = None
    size: int = 224
    longest: int | None = None
    check_labels: bool = True
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("folder", "labels", "classes", "annotations", "masks"):
            given = getattr(self, name)
            if isinstance(given, PurePath):
                object.__setattr__(self, name, str(given))
        check_kinds(self)


@dataclass(frozen=True)
class PlannedAttack:
    """One attack, at one or several budgets.

    Attributes:
        name: A name in :func:`nrpurify.attacks.names`; empty with ``attacked``.
        eps: Budgets in (0, 1], for ``l2`` above 0; in YAML also ``16/255``. Empty with
            ``attacked``: as its manifest says.
        threat: What the attacker knows, see :mod:`nrpurify.evaluation.threats`.
        surrogate: Who is attacked in a transfer: one network, or several as an ensemble.
        layer: Where it is attacked (ssp, tap); empty for the default.
        preset: ``paper`` or ``authors``.
        norm: Of the budgets: ``linf`` or ``l2``.
        steps: Iterations; None for the preset's.
        step_size: In (0, 1]; None for the preset's.
        settings: Further settings of the attack. In YAML they also stand beside ``name``.
        labels: ``given``: away from the true class. ``predicted``: away from what the attacked
            network predicts for the clean image. ``random``: toward a class that is drawn for
            each image and is not its own; the metric ``targeted-success`` counts it.
        draws: Passes through a random defense for one gradient (EOT).
        bpda: For EOT: the identity's gradient through the defense.
        purifier: The attacker's own defense, for the threats ``surrogate purifier``.
        trained: File of a generator (cda) or pattern (fff); empty for the shipped one.
        attacked: A folder of attacked images made before, under the names of the images; nothing
            is attacked then. Without ``eps``, budget and norm are those of its manifest.
        label: A free name, which all results of the attack carry; decides no value.

    Raises:
        RecipeError: A value of another kind, such as one number for ``eps``, or no such threat.
    """

    name: str = ""
    eps: tuple[float, ...] = (16 / 255,)
    threat: Threat = "oblivious transfer"
    surrogate: tuple[str, ...] = ()
    layer: tuple[str, ...] = ()
    preset: str = "paper"
    norm: Literal["linf", "l2"] = "linf"
    steps: int | None = None
    step_size: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    labels: Literal["given", "predicted", "random"] = "given"
    draws: int = 1
    bpda: bool = False
    purifier: str = ""
    trained: str = ""
    attacked: str = ""
    label: str = ""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_kinds(self)

    @property
    def transfers(self) -> bool:
        """Whether its images are made without the defense and the victim in question."""
        return self.threat in ("oblivious transfer", *OWN_PURIFIER)

    @property
    def given(self) -> dict[str, Any]:
        """What overrides the preset."""
        named = {"steps": self.steps, "step_size": self.step_size, **self.settings}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def decides(self) -> dict[str, Any]:
        """All fields that decide its images, as plain values: all but ``eps`` and ``label``."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in values.items() if name not in ("eps", "label")}


@dataclass(frozen=True)
class EvaluationPlan:
    """Attacks × budgets × defenses × victims on one set of images, for one task.

    Attributes:
        data: See :class:`DataSpec`.
        victims: Specs that the task loads; empty for the task's default.
        attacks: See :class:`PlannedAttack`; clean images are always measured.
        defenses: Specs for :func:`nrpurify.defenses.make`, such as ``jpeg:quality=75+fast``.
        task: A name or spec of :data:`nrpurify.evaluation.tasks.TASKS`.
        metrics: Names or specs of :data:`nrpurify.evaluation.metrics.METRICS`; empty for the
            task's.
        gallery: How many images are shown in pictures.
        name: Of the run.
        title: Of its report.
        seed: Of everything random.
        rounding: ``uint8`` rounds attacked images to 8 bits, as a PNG file does; ``float``: not.
        batch: Images read at a time; decides no result.
        group: Images that a network sees together; part of the result, see
            :mod:`nrpurify.core.groups`. Tasks whose images differ in size have groups of 1.
        amp: bf16 autocast of transfers and of defenses against them; white-box attacks and what
            they are judged by run in fp32.
        plugins: Modules or files whose decorators add attacks, defenses, victims, tasks or metrics.

    Raises:
        RecipeError: A value of another kind, such as one text where a tuple of them goes.

    Examples:
        >>> from nrpurify.evaluation.plan import PlannedAttack
        >>> plan = nrpurify.EvaluationPlan(
        ...     victims=("efficientnet_lite0",),
        ...     attacks=(PlannedAttack("ssp", eps=(16 / 255,), surrogate=("vgg16",), steps=10),),
        ... )
        >>> plan.defenses
        ('none', 'fast')
    """

    data: DataSpec = DataSpec()
    victims: tuple[str, ...] = ()
    attacks: tuple[PlannedAttack, ...] = ()
    defenses: tuple[str, ...] = ("none", "fast")
    task: str = "classify"
    metrics: tuple[str, ...] = ()
    gallery: int = 3
    name: str = "evaluation"
    title: str = ""
    seed: int = 0
    rounding: Literal["float", "uint8"] = "uint8"
    batch: int = 10
    group: int = GROUP
    amp: Amp = "auto"
    plugins: tuple[str, ...] = ()
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_kinds(self)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, from which :func:`plan_from_dict` makes the same."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not self.plugins:
            del values["plugins"]
        return values

    def with_data(self, **changes: Any) -> EvaluationPlan:
        """The same with other fields of ``data``."""
        return replace(self, data=replace(self.data, **changes))
