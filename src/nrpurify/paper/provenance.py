"""What decided a result, for its ``run.json``: the images, and the hashes of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from nrpurify.core.hashing import content_hashes, digest
from nrpurify.evaluation import PlannedAttack
from nrpurify.paper.bench import Bench
from nrpurify.results import Result
from nrpurify.weights import weights_hash

FEATURES = "features of "
"""Before a network's name where only its features are used."""


@dataclass(frozen=True)
class Data:
    """Where images come from.

    Attributes:
        folder: Its name.
        n: How many were used.
        size: Their side in pixels; None where each has its own.
        rule: How they were chosen.
    """

    folder: str
    n: int
    size: int | None
    rule: str


NO_DATA = Data("", 0, None, "no images are used")


@dataclass(frozen=True)
class Measured:
    """Cells of one victim with all that decided them.

    Attributes:
        cells: What was measured.
        data: On what.
        weights: sha256 by name of network or defense.
        settings: As plain values.
    """

    cells: list[Result]
    data: Data
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Settings and data as plain values."""
        return {**self.settings, "images": asdict(self.data)}


def images_digest(bench: Bench, count: int | None = None, start: int = 0) -> str:
    """sha256 of the bench's labeled images, of which ``count`` from ``start`` on were used."""
    items = bench.items()[start:][:count]
    return digest([content_hashes([item.path for item in items]), [i.label for i in items]])


def photographs(bench: Bench, count: int | None = None, start: int = 0) -> Data:
    """The bench's labeled images, of which ``count`` from ``start`` on were used."""
    every = replace(bench, limit=None).items()
    n = len(bench.items()[start:][:count])
    folder = every[0].path.parent.name if bench.images is None else bench.images.name
    rule = f"{chosen(n, start)} of {len(every)} labeled images, in the order of their paths"
    return Data(folder, n, bench.side, rule)


def chosen(count: int, start: int) -> str:
    """``the first 4``, or ``numbers 5 to 8``."""
    return f"numbers {start + 1} to {start + count}" if start else f"the first {count}"


def joined(parts: Sequence[Data]) -> dict[str, Any]:
    """``images`` of ``run.json``; several folders are all named, each with its rule."""
    most: dict[tuple[str, str], Data] = {}
    for part in parts:
        same = most.setdefault((part.folder, part.rule), part)
        if part.n > same.n:
            most[part.folder, part.rule] = part
    found = list(most.values())
    if len(found) == 1:
        return asdict(found[0])
    return {
        "folder": " and ".join(dict.fromkeys(part.folder for part in found)),
        "n": sum(part.n for part in found),
        "size": found[0].size if len({part.size for part in found}) == 1 else None,
        "rule": "; ".join(f"{part.folder}: {part.rule}" for part in found),
    }


def hashes(bench: Bench, modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """sha256 of the weights of networks and defenses, by name; those without any are left out.

    At the scale smoke networks are random ones, so that no file of their name counts.
    """
    names = {name: name.removeprefix(FEATURES) for name in modules}
    plain = dict.fromkeys(names, "") if bench.scale == "smoke" else names
    found = {name: weights_hash(plain[name], module) for name, module in modules.items()}
    return {name: sha256 for name, sha256 in found.items() if sha256}


def described(attack: PlannedAttack) -> dict[str, Any]:
    """An attack's settings as plain values; of a file its name only."""
    values = {**attack.decides, "eps": list(attack.eps), "trained": Path(attack.trained).name}
    return {key: value for key, value in values.items() if value not in ("", None, [], {})}
