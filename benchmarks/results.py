"""The tables of docs/results.md from a run of benchmarks/results.yaml.

A value is the mean accuracy of the victims that are not the surrogate; its interval the 2.5 % and
97.5 % quantiles over resampled images (the same images for all victims).
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Key = tuple[str, float, str]
"""Attack, eps, surrogate; the attack is "" for clean images."""
Table = dict[Key, dict[str, NDArray[np.float64]]]
"""By attack and defense right answers, victims × images."""
RESAMPLINGS = 2000


def read(folder: Path, victims: Collection[str] = ()) -> tuple[list[str], Table]:
    """Each defense's right answers, victims × images, by attack; of ``victims``, if any."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    found: dict[Key, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    order: list[str] = []
    for cell in run["cells"]:
        if not cell["settings"].get("in_mean", True):
            continue
        if victims and cell["victim"] not in victims:
            continue
        hits = json.loads((folder / "cells" / f"{cell['id']}.json").read_text())["hits"]
        attack = "" if cell["threat"] == "none" else cell["attack"]
        key = (attack, cell["eps"] or 0.0, cell["surrogate"] or "")
        found[key][cell["defense"]].append([int(hit) for hit in hits])
        if cell["defense"] not in order:
            order.append(cell["defense"])
    arrays = {
        key: {defense: np.array(rows, dtype=float) for defense, rows in by.items()}
        for key, by in found.items()
    }
    return order, arrays


def pooled(folders: Sequence[Path], victims: Collection[str] = ()) -> tuple[list[str], Table]:
    """Runs on different images as one: of attacks and defenses that all of them have."""
    orders, tables = zip(*(read(folder, victims) for folder in folders), strict=True)
    order = [name for name in orders[0] if all(name in other for other in orders)]
    found: Table = {}
    for key in tables[0]:
        if all(key in table for table in tables):
            found[key] = {
                name: np.concatenate([table[key][name] for table in tables], 1)
                for name in order
                if all(name in table[key] for table in tables)
            }
    return order, found


def joined(order: list[str], table: Table, folder: Path, victims: Collection[str]) -> list[str]:
    """Add the defenses of a run on the same images to ``table``; those and the old in order."""
    more, other = read(folder, victims)
    names = {name: f"{name} ({folder.name})" for name in more if name != "none"}
    for key, by in table.items():
        by |= {names[name]: hits for name, hits in other.get(key, {}).items() if name in names}
    return [*order, *names.values()]


def interval(hits: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean accuracy, in percent."""
    images = hits.mean(0)
    draws = np.random.default_rng(0).integers(0, len(images), (RESAMPLINGS, len(images)))
    low, high = np.quantile(images[draws].mean(1), (0.025, 0.975))
    return 100 * float(low), 100 * float(high)


def difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, ...]:
    """Mean of ``first`` minus ``second`` and its 95 % interval, in points, over the same images.

    Both are victims × images of one attack. Images are drawn for both at once, so what is hard for
    both widens nothing.
    """
    each = (first - second).mean(0)
    draws = np.random.default_rng(0).integers(0, len(each), (RESAMPLINGS, len(each)))
    low, high = np.quantile(each[draws].mean(1), (0.025, 0.975))
    return 100 * float(each.mean()), 100 * float(low), 100 * float(high)


def heading(key: Key) -> str:
    attack, eps, surrogate = key
    if not attack:
        return "clean"
    networks = {
        "vgg16": "VGG16",
        "efficientnet_lite0": "Lite0",
        "squeezenet1_1,mobilenet_v1_025": "SqueezeNet + MobileNet",
    }
    return f"{attack} {255 * eps:.0f}, {networks.get(surrogate, surrogate)}"


def print_accuracy(order: list[str], table: Table) -> None:
    """A column for each defense, the best of a row in bold."""
    print("|", " | ".join(["images", *order]), "|")
    print("|" + " --- |" * (len(order) + 1))
    for key, by in table.items():
        best = max(by[defense].mean() for defense in order if defense in by)
        cells = []
        for defense in order:
            if defense not in by:
                cells.append("")
                continue
            mean = by[defense].mean()
            text = f"{100 * mean:.1f}"
            cells.append(f"**{text}**" if mean == best else text)
        print("|", " | ".join([heading(key), *cells]), "|")
    print()


def print_success(purifier: str, table: Table) -> None:
    """Success undefended and purified, with the intervals of accuracy."""
    print("| images | none, 95 % | purified, 95 % | success | purified | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for key, by in table.items():
        if not {"none", purifier} <= set(by):
            continue
        before, after = by["none"], by[purifier]
        failed, left = 100 * (1 - before.mean()), 100 * (1 - after.mean())
        spans = ["{:.0f} to {:.0f}".format(*interval(hits)) for hits in (before, after)]
        ratio = f"{failed / left:.2f}" if left and key[0] else ""
        print("|", " | ".join([heading(key), *spans, f"{failed:.1f}", f"{left:.1f}", ratio]), "|")
    print()


def print_differences(purifier: str, order: list[str], table: Table) -> None:
    """How far the purifier is ahead of each other defense, with paired intervals."""
    others = [defense for defense in order if defense != purifier]
    print("|", " | ".join([f"{purifier} minus", *others]), "|")
    print("|" + " --- |" * (len(others) + 1))
    for key, by in table.items():
        cells = []
        for other in others:
            if other not in by or purifier not in by:
                cells.append("")
                continue
            mean, low, high = difference(by[purifier], by[other])
            cells.append(f"{mean:.1f} ({low:.1f} to {high:.1f})")
        print("|", " | ".join([heading(key), *cells]), "|")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="+", help="several: of other images each, pooled")
    parser.add_argument("--purifier", default="fast")
    parser.add_argument(
        "--beside",
        default="fast:coarse=1,fine=1",
        help="another setting of the purifier, compared with it in a table of its own",
    )
    parser.add_argument("--victims", nargs="+", default=[], help="in the means; all of them")
    parser.add_argument("--with", dest="other", type=Path, help="a run of the same images")
    args = parser.parse_args()
    order, table = pooled(args.run, args.victims)
    if args.other:
        order = joined(order, table, args.other, args.victims)
    print_accuracy([defense for defense in order if defense != args.beside], table)
    print_success(args.purifier, table)
    print_differences(args.purifier, [d for d in order if d != args.beside], table)
    if args.beside in order:
        print_accuracy([args.purifier, args.beside], table)


if __name__ == "__main__":
    main()
