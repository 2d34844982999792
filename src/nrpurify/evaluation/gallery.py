"""Pictures of a run: the first images clean, attacked, and behind a defense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nrpurify.core.hashing import slug
from nrpurify.core.images import write_png
from nrpurify.evaluation.cells import Unit, units
from nrpurify.evaluation.measurement import Measurement
from nrpurify.purifiers import Purifier
from nrpurify.results import Result
from nrpurify.results.budget import Budget


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture.

    Attributes:
        key: ``clean``, ``attacked`` or ``purified``.
        title: What it is.
        image: What the victim was shown, 3×H×W in [0, 1].
        prediction: What the victim returned for it.
        picture: Of what the victim sees in it, 3×h×w.
        caption: The same in words.
        correct: Whether the prediction is right; None where that is no question of yes or no.
    """

    key: str
    title: str
    image: Tensor
    prediction: Any
    picture: Tensor
    caption: str
    correct: bool | None


@dataclass(frozen=True, eq=False)
class Strip:
    """The pictures of one image.

    Attributes:
        name: Of the image.
        key: For names of files.
        label: Its target in words.
        panels: Its pictures.
    """

    name: str
    key: str
    label: str
    panels: list[Panel]

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the pictures as PNG files; the entry for ``strips`` in ``run.json``."""
        rows = []
        for panel in self.panels:
            file = f"{slug(self.key)}--{panel.key}.png"
            write_png(folder / file, panel.picture.float().cpu())
            rows.append(
                {
                    "title": panel.title,
                    "file": file,
                    "caption": panel.caption,
                    "correct": panel.correct,
                }
            )
        return {"name": self.name, "label": self.label, "panels": rows}


def shown_defense(defenses: Mapping[str, nn.Module], cells: Iterable[Result]) -> str | None:
    """The spec of the defense that pictures show: a purifier, if there is one.

    Of several purifiers, or without any of several defenses, the one with the best mean value.

    Args:
        defenses: By spec; ``none`` does not count.
        cells: Under the attack that is shown.
    """
    found: dict[str, list[float]] = {spec: [] for spec in defenses if spec != "none"}
    for cell in cells:
        if cell.defense in found:
            found[cell.defense].append(cell.value)
    means = {spec: sum(values) / len(values) if values else -1 for spec, values in found.items()}
    known = {spec for spec in means if is_purifier(defenses[spec])}
    return max(known & set(means) or means, key=lambda spec: means[spec], default=None)


def is_purifier(defense: nn.Module) -> bool:
    """Whether a defense is a trained purifier, or has one in its chain."""
    return any(isinstance(module, Purifier) for module in defense.modules())


def attack_words(
    name: str, surrogates: Sequence[str], eps: float | None, norm: str | None = None
) -> str:
    """Such as ``Attacked: mi-fgsm made on squeezenet1_1 and mobilenet_v1_025, ε 16/255``."""
    made = f" made on {' and '.join(surrogates)}" if surrogates else ""
    budget = Budget.of(eps, norm)
    return f"Attacked: {name}{made}" + (f", ε {budget.text()}" if budget else "")


def defense_words(spec: str, defense: nn.Module) -> str:
    """Such as ``Purified by fast`` or ``After jpeg:quality=75``."""
    return f"{'Purified by' if is_purifier(defense) else 'After'} {spec}"


def strips(
    measurement: Measurement, cells: Sequence[Result], count: int, *, each_attack: bool = False
) -> Iterator[Strip]:
    """The first images under the largest transfer, and behind the shown defense.

    Args:
        measurement: After its results were measured.
        cells: What was measured, see :func:`shown_defense`.
        count: How many images.
        each_attack: Show every transfer at every budget, not the largest only.
    """
    every = units(measurement.setup.plan, measurement.setup.made)
    found = {(u.index, u.eps): u for u in every if u.attack and u.attack.transfers}
    if not each_attack or len(found) < 2:
        unit = max(found.values(), key=lambda unit: unit.eps or 0, default=None)
        yield from _under(measurement, cells, count, unit)
        return
    for unit in found.values():
        for strip in _under(measurement, cells, count, unit):
            assert unit.attack is not None
            words = slug(unit.attack.label or unit.name, f"{255 * (unit.eps or 0):.3g}")
            yield replace(strip, key=f"{strip.key}-{words}")


def _under(
    measurement: Measurement, cells: Sequence[Result], count: int, unit: Unit | None
) -> Iterator[Strip]:
    """The first images under one attack, or without any."""
    plan, networks = measurement.setup.plan, measurement.setup.networks
    specs = dict.fromkeys(("none", *plan.defenses))
    defenses = {spec: networks.defense(spec) for spec in specs}
    under = list(cells)
    if unit is not None:
        wanted = (unit.name, unit.attack.threat if unit.attack else "none", unit.eps)
        under = [cell for cell in cells if (cell.attack, cell.threat, cell.eps) == wanted]
    metric = under[0].metric if under else ""
    spec = shown_defense(defenses, (cell for cell in under if cell.metric == metric))
    if unit is None and spec is None:
        return
    victims = unit.victims if unit is not None else plan.victims
    others = [name for name in victims if unit is None or not unit.is_own_surrogate(name)]
    victim = (others or list(victims))[0]
    words = None if spec is None else (spec, defense_words(spec, defenses[spec]))
    for index in measurement.setup.task.shown(measurement.setup.samples, count):
        yield _strip(measurement, index, victim, unit, words)


def _strip(
    measurement: Measurement,
    index: int,
    victim: str,
    unit: Unit | None,
    defense: tuple[str, str] | None,
) -> Strip:
    task, samples = measurement.setup.task, measurement.setup.samples
    network = measurement.setup.networks.victims[victim]
    chunk = measurement.setup.chunk(index, index + 1)
    panels: list[Panel] = []

    def show(key: str, title: str, image: Tensor) -> None:
        answer = measurement.asker(Unit("none", (victim,)), nn.Identity())(chunk, image)
        prediction = answer[victim][0]
        picture, caption = task.render(network, image[0], prediction)
        correct = task.is_right(prediction, chunk.targets[0]) if samples.labeled else None
        told = f"{victim}: {caption}" if task.class_labels else caption
        panels.append(Panel(key, title, image[0], prediction, picture, told, correct))

    images = chunk.batch.images
    show("clean", "Clean", images)
    if unit is not None:
        assert unit.attack is not None
        images = measurement.adversaries.get(unit, chunk)
        named = (unit.attack.label, ()) if unit.attack.label else (unit.name, unit.surrogates)
        words = attack_words(*named, unit.eps, unit.norm)
        show("attacked", words, images)
    if defense is not None:
        show("purified", defense[1], measurement.defended(defense[0], chunk, images))
    label = task.describe(network, chunk.targets[0]) if samples.labeled else ""
    return Strip(samples.names[index], samples.keys[index], label, panels)
