"""Pictures of a grid for its report: clean, attacked, purified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nrpurify.core.errors import MissingExtraError
from nrpurify.core.hashing import slug
from nrpurify.core.images import write_png
from nrpurify.evaluation.bench import Bench, answers
from nrpurify.evaluation.cells import is_own_surrogate, units
from nrpurify.evaluation.harness import Batch
from nrpurify.evaluation.networks import surrogate_names
from nrpurify.models import imagenet_classes
from nrpurify.purifiers import Purifier
from nrpurify.results import Result

SHOWN = 3


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


def attack_words(name: str, surrogates: Sequence[str], eps: float | None) -> str:
    """Such as ``Attacked: mi-fgsm made on squeezenet1_1 and mobilenet_v1_025, ε 16/255``."""
    made = f" made on {' and '.join(surrogates)}" if surrogates else ""
    return f"Attacked: {name}{made}" + ("" if eps is None else f", ε {255 * eps:.3g}/255")


def defense_words(spec: str, defense: nn.Module) -> str:
    """Such as ``Purified by fast`` or ``After jpeg:quality=75``."""
    return f"{'Purified by' if is_purifier(defense) else 'After'} {spec}"


def write_strips(bench: Bench, cells: Sequence[Result], folder: Path) -> list[dict[str, Any]]:
    """Write pictures of the first images under the largest transfer, and purified.

    Args:
        bench: After its cells were measured.
        cells: What was measured, see :func:`shown_defense`.
        folder: Where the PNG files go.

    Returns:
        One entry an image, ``name``, ``label`` and ``panels``; none without a transfer and a
        defense.
    """
    found = [u for u in units(bench.recipe) if u.attack is not None and u.attack.transfers]
    defenses = {spec: bench.networks.defense(spec) for spec in bench.recipe.defenses}
    unit = max(found, key=lambda unit: unit.eps or 0, default=None)
    if unit is None:
        return []
    assert unit.attack is not None
    alike = (unit.attack.name, unit.attack.threat, unit.eps)
    under = (cell for cell in cells if (cell.attack, cell.threat, cell.eps) == alike)
    spec = shown_defense(defenses, under)
    if spec is None:
        return []
    others = [name for name in unit.victims if not is_own_surrogate(unit, name)]
    victim = (others or list(unit.victims))[0]
    batch, hashes = next(bench.batches())
    assert unit.eps is not None
    adversaries = bench.adversaries(unit.attack, unit.index, unit.eps)
    attacked = adversaries.get(batch, hashes)[:SHOWN]
    clean = Batch(batch.images[:SHOWN], batch.labels[:SHOWN], batch.names[:SHOWN])
    purified = defenses[spec](attacked).detach()
    images = {"clean": clean.images, "attacked": attacked, "purified": purified}
    titles = {
        "clean": "Clean",
        "attacked": attack_words(unit.attack.name, surrogate_names(unit.attack), unit.eps),
        "purified": defense_words(spec, defenses[spec]),
    }
    return _write(bench, clean, images, titles, victim, folder)


def _write(
    bench: Bench,
    batch: Batch,
    images: dict[str, Tensor],
    titles: dict[str, str],
    victim: str,
    folder: Path,
) -> list[dict[str, Any]]:
    network, none = {victim: bench.networks.victims[victim]}, bench.networks.defense("none")
    scores = {
        key: answers(none, network, batch._replace(images=view), False, key)[victim]
        for key, view in images.items()
    }
    name_of = _class_names(bench.classes[victim])
    strips = []
    for row, name in enumerate(batch.names):
        panels, label = [], int(batch.labels[row])
        for key, view in images.items():
            file = f"{slug(name)}--{key}.png"
            write_png(folder / file, view[row].float())
            share, index = (float(value) for value in scores[key][row].softmax(0).max(0))
            caption = f"{victim}: {name_of(int(index))} ({share:.0%})"
            panels.append(
                {
                    "title": titles[key],
                    "file": file,
                    "caption": caption,
                    "correct": int(index) == label,
                }
            )
        strips.append({"name": name, "label": name_of(label), "panels": panels})
    return strips


def _class_names(classes: int) -> Callable[[int], str]:
    """ImageNet's names for 1000 classes where torchvision knows them, else numbers."""
    try:
        names = imagenet_classes() if classes == 1000 else []
    except MissingExtraError:
        names = []
    return lambda index: names[index] if names else f"class {index}"
