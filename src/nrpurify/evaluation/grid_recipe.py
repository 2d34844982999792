"""Recipes of the evaluation grid: what is attacked, how, behind what, readable from YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

from nrpurify.core.config import Gathered, Marks, Place, RecipeError, find_recipe, read_yaml, shown
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.fractions import parse_eps
from nrpurify.core.groups import GROUP
from nrpurify.core.precision import Amp

Threat = Literal[
    "oblivious transfer",
    "surrogate purifier + BPDA",
    "BPDA",
    "full gradient",
    "EOT",
    "score-based",
]
SCORE_BASED = ("square",)
"""Attacks that see scores only, no gradient."""


@dataclass(frozen=True)
class GridImages:
    """Which images.

    Attributes:
        folder: Images or, without ``labels``, one sub-folder a class; empty when the caller has
            the images.
        labels: A CSV, see :func:`nrpurify.data.labels.read_labels_csv`.
        classes: Without ``labels``: a text file of the sub-folders' names in the order of the
            victims' classes; empty for numbers, or alphabetical order.
        limit: The first so many by name; None for all.
        size: Side in pixels: short side resized, center cropped.
        check_labels: Refuse to run when the undefended victims are no better than chance.
    """

    folder: str = ""
    labels: str = ""
    classes: str = ""
    limit: int | None = None
    size: int = 224
    check_labels: bool = True
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class GridAttack:
    """One attack, at one or several budgets.

    Attributes:
        name: A name in :func:`nrpurify.attacks.names`.
        eps: L∞ budgets in (0, 1]; in YAML also ``16/255``.
        threat: What the attacker knows, see :mod:`nrpurify.evaluation.threats`.
        surrogate: Who is attacked in a transfer: one network, or several as an ensemble.
        layer: Where it is attacked (ssp, tap); empty for the default.
        preset: ``paper`` or ``authors``.
        steps: Iterations; None for the preset's.
        step_size: In (0, 1]; None for the preset's.
        settings: Further keyword arguments of the attack's function.
        labels: ``given``: away from the true class. ``predicted``: away from what the attacked
            network says of the clean image.
        draws: Passes through a random defense for one gradient (EOT).
        bpda: For EOT: the identity's gradient through the defense.
        purifier: The attacker's own defense, for ``surrogate purifier + BPDA``.
        trained: File of a generator (cda) or pattern (fff); empty for the shipped one.
    """

    name: str
    eps: tuple[float, ...] = (16 / 255,)
    threat: Threat = "oblivious transfer"
    surrogate: tuple[str, ...] = ()
    layer: tuple[str, ...] = ()
    preset: str = "paper"
    steps: int | None = None
    step_size: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    labels: Literal["given", "predicted"] = "given"
    draws: int = 1
    bpda: bool = False
    purifier: str = ""
    trained: str = ""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def transfers(self) -> bool:
        """Whether its images are made without the defense and the victim in question."""
        return self.threat in ("oblivious transfer", "surrogate purifier + BPDA")

    @property
    def given(self) -> dict[str, Any]:
        """What overrides the preset."""
        named = {"steps": self.steps, "step_size": self.step_size, **self.settings}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class GridRecipe:
    """A grid of attacks × eps × defenses × victims.

    Attributes:
        attacks: See :class:`GridAttack`.
        victims: Names for :func:`nrpurify.models.load_classifier`.
        defenses: Specs for :func:`nrpurify.defenses.make`, such as ``jpeg:quality=75+fast``.
        images: See :class:`GridImages`.
        name: Of the run.
        title: Of its report.
        seed: Of everything random.
        rounding: ``uint8`` rounds attacked images to 8 bits, as a PNG file does; ``float``: not.
        batch: Images read at a time; decides no result.
        group: Images that a network sees together; part of the result, see
            :mod:`nrpurify.core.groups`.
        amp: bf16 autocast of transfers and of defenses against them; white-box attacks and what
            they are judged by run in fp32.
        plugins: Modules or files whose decorators add attacks, defenses or victims.
    """

    attacks: tuple[GridAttack, ...]
    victims: tuple[str, ...]
    defenses: tuple[str, ...] = ("none", "fast")
    images: GridImages = GridImages()
    name: str = "grid"
    title: str = ""
    seed: int = 0
    rounding: Literal["float", "uint8"] = "uint8"
    batch: int = 10
    group: int = GROUP
    amp: Amp = "auto"
    plugins: tuple[str, ...] = ()
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, from which :func:`grid_from_dict` makes the same."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not self.plugins:
            del values["plugins"]
        return values


def distance(value: object) -> float:
    """A distance in (0, 1]: a number, or a fraction such as ``16/255`` as text.

    Raises:
        InputError: Neither of them, or outside (0, 1].
    """
    return parse_eps(str(value), f"{shown(value)} given")


def grid_from_dict(values: Mapping[str, Any]) -> GridRecipe:
    """Build a recipe from plain values; one value may stand for a list of one.

    Raises:
        RecipeError: Unknown keys or values of the wrong kind, each with its place.
        MissingExtraError: pydantic is not installed.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ImportError as error:
        raise MissingExtraError("pydantic", "train") from error
    problems: list[tuple[Place, str]] = []
    plain = _plain(values, problems)
    try:
        recipe = TypeAdapter(GridRecipe).validate_python(plain)
    except ValidationError as error:
        problems += [(found["loc"], _reason(found)) for found in error.errors()]
    if problems:
        raise RecipeError(*problems, *_other_problems(plain, [place for place, _ in problems]))
    return recipe


def _other_problems(plain: dict[str, Any], places: list[Place]) -> list[tuple[Place, str]]:
    """What else is wrong with a recipe, apart from settings and attacks at these ``places``."""
    from pydantic import TypeAdapter, ValidationError

    from nrpurify.evaluation.grid_checks import check_grid
    from nrpurify.evaluation.networks import name_problems

    if not all(places):
        return []
    top = {place[0] for place in places if place[:1] != ("attacks",)}
    spoiled = {place[1] for place in places if place[:1] == ("attacks",) and len(place) > 1}
    rest: dict[str, Any] = {"attacks": [], "victims": ["any"]}
    rest |= {name: value for name, value in plain.items() if name not in top}
    stand_in = {"name": "noise"}
    if isinstance(rest["attacks"], list):
        rest["attacks"] = [
            stand_in if index in spoiled else attack for index, attack in enumerate(rest["attacks"])
        ]
    gathered = Gathered()
    try:
        recipe = TypeAdapter(GridRecipe).validate_python(rest)
    except ValidationError:
        return []
    with gathered.at():
        check_grid(recipe)
    gathered.problems += name_problems(recipe)
    return [
        (place, text)
        for place, text in gathered.problems
        if place[0] in plain
        and place[0] not in top
        and not (place[0] == "attacks" and place[1] in spoiled)
    ]


def _reason(error: Any) -> str:
    if error["type"] == "unexpected_keyword_argument":
        return "no such setting; see the recipe reference in docs/evaluation.md"
    if error["type"] in ("missing", "missing_argument"):
        return "is missing"
    return f"{shown(error['input'])} given; {error['msg'][0].lower()}{error['msg'][1:]}"


def _plain(values: Mapping[str, Any], problems: list[tuple[Place, str]]) -> dict[str, Any]:
    """Lists for single values, numbers for fractions, and the threat of score-based attacks."""
    plain = _listed(values, "defenses", "victims", "plugins")
    attacks = values.get("attacks")
    if isinstance(attacks, list | tuple):
        plain["attacks"] = [
            _plain_attack(attack, ("attacks", index), problems)
            for index, attack in enumerate(attacks)
        ]
    return plain


def _plain_attack(attack: Any, place: Place, problems: list[tuple[Place, str]]) -> Any:
    if not isinstance(attack, dict):
        return attack
    plain = _listed(attack, "eps", "surrogate", "layer")
    if plain.get("name") in SCORE_BASED:
        plain.setdefault("threat", "score-based")
    if "eps" in plain:
        plain["eps"] = [
            _distance(value, (*place, "eps", index), problems)
            for index, value in enumerate(plain["eps"])
        ]
    if plain.get("step_size") is not None:
        plain["step_size"] = _distance(plain["step_size"], (*place, "step_size"), problems)
    return plain


def _distance(value: object, place: Place, problems: list[tuple[Place, str]]) -> float:
    try:
        return distance(value)
    except InputError as error:
        problems.append((place, str(error)))
        return 1.0


def _listed(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {
        name: [value] if name in names and not isinstance(value, list | tuple) else value
        for name, value in values.items()
    }


def shipped_grids() -> dict[str, Path]:
    """The evaluation recipes that the package carries, by name."""
    folder = Path(str(resources.files("nrpurify.evaluation"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_grid(source: str | Path) -> tuple[GridRecipe, Marks]:
    """Read a shipped recipe by name, or a YAML file, and the lines of its settings.

    Raises:
        InputError: No such recipe, or one that cannot be used; lines are named.
        MissingExtraError: PyYAML or pydantic is not installed.
    """
    path = find_recipe(source, shipped_grids())
    values, marks = read_yaml(path)
    with marks.naming_lines():
        return grid_from_dict({"name": path.stem, **values}), marks
