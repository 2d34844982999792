"""Tables of measurements: from committed JSON into Markdown.

``benchmarks/results/NAME.json`` holds either a *run*, trimmed from ``run.json``, or a *table* whose
run was not kept. A page shows it between two comments::

    <!-- table: NAME columns=victim mean="mean of unseen" -->
    <!-- /table -->

``fill`` writes what stands between them; :data:`OPTIONS` are the options of a run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from kept_results import Cell, load

from nrpurify import attacks

MARK = re.compile(r"(<!-- table: (.*?) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
OPTIONS = {
    "rows": "attack (the default), defense, victim or gradients (of an image); several with commas",
    "columns": "defense (the default), victim, attack or metric",
    "attacks, defenses, victims, metrics, surrogates": "only these, in this order",
    "mean": "heading of a last column with the mean of all others",
    "gain": "a column; each other column is followed by its paired difference from that one",
    "interval": "yes: the 95 % interval behind each value",
    "best": "row, column or no: where the largest value is bold",
    "digits": "decimals, 1 by default",
}
NAMES = {
    "efficientnet_lite0": "Lite0",
    "efficientnet_lite1": "Lite1",
    "efficientnet_lite2": "Lite2",
    "efficientnet_lite3": "Lite3",
    "mobilenet_v1_025": "MobileNetV1",
    "squeezenet1_1": "SqueezeNet",
    "resnet50_thin_ridge": "ResNet-50 thin",
    "xception": "Xception",
    "xception_ridge": "Xception",
    "vgg16": "VGG16",
    "alexnet": "AlexNet",
    "jpeg:quality=75": "JPEG 75",
    "jpeg:quality=50": "JPEG 50",
    "jpeg:quality=20": "JPEG 20",
    "tvm:weight=30": "TVM 30",
    "tvm:weight=10": "TVM 10",
    "median": "median 3",
    "rp:low=232,high=248,passes=3": "R&P",
    "fast": "`fast`",
    "fast:coarse=1,fine=1": "`fast`, strength 1",
    "tiny": "`tiny`",
}
HEADINGS = {"attack": "images", "gradients": "gradients an image"}
RESAMPLINGS = 2000
DERIVED: dict[str, Callable[[], str]] = {}
"""Tables that are made of several results, by the name in a mark."""


def fill(text: str) -> str:
    """A Markdown page with each marked table as it is rendered now."""
    return MARK.sub(lambda found: f"{found[1]}\n{render(found[2])}\n{found[4]}", text)


def render(mark: str) -> str:
    """The table of a mark: the name of a result, and options."""
    name, *options = shlex.split(mark)
    if name in DERIVED:
        return DERIVED[name]()
    contents = [load(one) for one in name.split(",")]
    content = contents[0]
    if content["kind"] == "certificates":
        return certificates(contents)
    if content["kind"] == "table":
        return static(content)
    return view(content, **dict(option.split("=", 1) for option in options))


def static(content: Mapping[str, Any]) -> str:
    """A table whose run was not kept, value by value."""
    bold = {tuple(place) for place in content.get("bold", ())}
    columns = content["columns"]
    lines = []
    for i, row in enumerate(content["rows"]):
        cells = []
        for j, (column, value) in enumerate(zip(columns, row, strict=True)):
            text = number(value, column.get("digits", 1), column.get("unit", ""))
            cells.append(f"**{text}**" if (i, j) in bold else text)
        lines.append(cells)
    table = markdown([column["name"] for column in columns], lines)
    if "environment" not in content:
        return table
    about = content["environment"]
    machine = f"{about['processor']}, {about['cores']} cores, nrpurify {about['nrpurify']}"
    return f"{table}\n*{content['title']}. {machine}, torch {about['torch']}, {about['date']}.*\n"


def certificates(contents: Sequence[Mapping[str, Any]]) -> str:
    """Certified accuracy at each radius, a column for each result of ``nrpurify certify``."""
    heading, captions = ["radius"], []
    for content in contents:
        settings = content["settings"]
        purifier = Path(settings.get("purifier", "no denoiser")).stem
        heading.append(f"{purifier}, σ {settings['sigma']:g}")
        captions.append(
            f"{heading[-1]}: {settings['victim']}, {content['images']} images of "
            f"{settings['size']} pixels, {settings['n']:,} samples, α {settings['alpha']:g}, "
            f"{content['abstained']} abstentions, {settings['precision']}"
        )
    radii = list(dict.fromkeys(r for content in contents for r in content["certified_accuracy"]))
    rows = []
    for radius in radii:
        shares = [content["certified_accuracy"].get(radius) for content in contents]
        if any(shares):
            rows.append([radius, *("–" if s is None else f"{100 * s:.1f}" for s in shares)])
    return f"{markdown(heading, rows)}\n*{'; '.join(captions)}.*\n"


def markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of strings."""
    rule = ["---"] * len(heading)
    return "".join(f"| {' | '.join(row)} |\n" for row in (heading, rule, *rows))


def number(value: Any, digits: int = 1, unit: str = "") -> str:
    """A number, or one with its interval, as tables show it; texts stay as they are."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [number(one, digits) for one in value]
        return " to ".join(texts) if len(texts) == 2 else f"{texts[0]} ({texts[1]} to {texts[2]})"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
    return text.replace("-", "−") + unit


def view(content: Mapping[str, Any], **options: str) -> str:
    """A table of a run; see :data:`OPTIONS`."""
    known = {one for names in OPTIONS for one in names.split(", ")}
    if wrong := set(options) - known:
        raise ValueError(f"no option {sorted(wrong)}; expected some of {sorted(known)}")
    rows = options.get("rows", "attack").split(",")
    columns = options.get("columns", "defense")
    cells: list[Cell] = [
        {**cell, "gradients": gradients(cell, content["plan"])}
        for cell in content["cells"]
        if cell.get("in_mean", True)
    ]
    cells = _chosen(cells, options)
    heads = _order(cells, columns, options)
    grid: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for cell in _sorted(cells, rows, options):
        key = tuple(_field(cell, row) for row in rows)
        grid.setdefault(key, {}).setdefault(_field(cell, columns), []).append(cell)
    values = [[_mean(by.get(head, [])) for head in heads] for by in grid.values()]
    best = _best(values, options.get("best", "row" if columns == "defense" else "no"))
    heading = [HEADINGS.get(row, row) for row in rows]
    for head in heads:
        heading.append(NAMES.get(head, head))
        if "gain" in options and head != options["gain"]:
            heading.append("difference")
    lines = []
    for i, (key, by) in enumerate(grid.items()):
        line = [NAMES.get(part, part) for part in key]
        for j, head in enumerate(heads):
            line.append(_shown(by.get(head, []), options, (i, j) in best))
            if "gain" in options and head != options["gain"]:
                line.append(_gain(by.get(head, []), by.get(options["gain"], []), options))
        if "mean" in options:
            known_values = [value for value in values[i] if value is not None]
            line.append(_percent(float(np.mean(known_values)), options))
        lines.append(line)
    if "mean" in options:
        heading.append(options["mean"])
    return f"{markdown(heading, lines)}\n*{caption(content)}*\n"


def caption(content: Mapping[str, Any]) -> str:
    """On what a run was measured, in one line."""
    images = content["images"]
    size = f" of {images['size']} pixels" if images.get("size") else ""
    shown = f"{images['n']} images{size}, " if images["n"] else ""
    return (
        f"{shown}{content['precision']}, seed {content['seed']}, "
        f"nrpurify {content['versions']['nrpurify']}, torch {content['versions']['torch']}, "
        f"{content['created']}."
    )


ONE_A_STEP = [
    "fgsm",
    "r-fgsm",
    "i-fgsm",
    "pgd",
    "mi-fgsm",
    "dim",
    "fgsm-ti",
    "mi-fgsm-ti",
    "dim-ti",
    "ni-fgsm",
    "pi-fgsm",
    "sgm",
    "ghost",
    "logit",
    "tap",
    "fsa",
    "ssp",
]
GRADIENTS: dict[str, Callable[[int, Mapping[str, Any]], int]] = {
    **{name: lambda steps, _: steps for name in ONE_A_STEP},
    **{name: lambda steps, s: steps * s["copies"] for name in ("si-ni-fgsm", "ssa", "sia", "bsr")},
    **{
        name: lambda steps, s: steps * (s["samples"] + 1)
        for name in ("vmi-fgsm", "vni-fgsm", "gra")
    },
    "admix": lambda steps, s: steps * s["copies"] * s["mixed"],
    "pgn": lambda steps, s: steps * 2 * s["samples"],
    "cwa": lambda steps, s: steps * 2 * s["members"],
    "svre": lambda steps, s: steps * 5 * s["members"],
    "fia": lambda steps, _: steps + 30,
    "naa": lambda steps, _: steps + 30,
    "ila": lambda steps, _: 2 * steps,
}
"""Gradients of an image by steps and settings, as docs/attacks.md has them."""


def gradients(cell: Cell, plan: Mapping[str, Any]) -> str:
    """How many gradients of an image its attack took; empty where that is not known."""
    name = cell["attack"]
    if "steps" not in cell or name not in GRADIENTS:
        return ""
    members = cell.get("surrogate", "").split(",")
    settings = {key: one.default for key, one in attacks.get(name).settings.items()}
    for one in plan["attacks"]:
        same = list(one.get("surrogate", ())) == members
        if one["name"] == name and same and one.get("label", "") == cell.get("label", ""):
            settings |= one.get("settings", {})
    return f"{GRADIENTS[name](cell['steps'], {**settings, 'members': len(members)}):,}"


def _field(cell: Cell, name: str) -> str:
    if name != "attack":
        return str(cell.get(name, ""))
    if cell["attack"] == "clean":
        return "clean"
    parts = [cell.get("label") or cell["attack"]]
    if cell.get("norm") == "l2":
        parts.append(f"ℓ2 {cell['eps']:g}")
    elif "eps" in cell:
        parts.append(f"{255 * cell['eps']:g}")
    text = " ".join(parts)
    if "surrogate" in cell:
        nets = cell["surrogate"].split(",")
        text += ", " + " + ".join(NAMES.get(net, net) for net in nets)
    return text if cell["threat"] == "oblivious transfer" else f"{text}, {cell['threat']}"


def _chosen(cells: Iterable[Cell], options: Mapping[str, str]) -> list[Cell]:
    kept = list(cells)
    for field in ("attack", "defense", "victim", "metric", "surrogate"):
        if wanted := options.get(f"{field}s"):
            names = wanted.split(",") if field != "surrogate" else wanted.split(";")
            kept = [cell for cell in kept if {cell.get(field), cell.get("label")} & set(names)]
    if not kept:
        raise ValueError(f"no result is left by {dict(options)}")
    return kept


def _order(cells: Iterable[Cell], field: str, options: Mapping[str, str]) -> list[str]:
    found = list(dict.fromkeys(_field(cell, field) for cell in cells))
    wanted = options.get(f"{field}s", "").split(",")
    return sorted(found, key=lambda one: wanted.index(one) if one in wanted else len(wanted))


def _sorted(cells: list[Cell], rows: Sequence[str], options: Mapping[str, str]) -> list[Cell]:
    orders = {row: _order(cells, row, options) for row in rows}
    return sorted(cells, key=lambda c: [orders[row].index(_field(c, row)) for row in rows])


def _mean(cells: Sequence[Cell]) -> float | None:
    return float(np.mean([cell["value"] for cell in cells])) if cells else None


def _hits(cells: Sequence[Cell]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The mean over victims of each image's right answers; None without them."""
    if not cells or not all("hits" in cell for cell in cells):
        return None
    return np.array([[int(hit) for hit in cell["hits"]] for cell in cells], float).mean(0)


def interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """95 % interval of a mean over images, by resampling of images."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLINGS, len(values)))
    low, high = np.quantile(values[draws].mean(1), (0.025, 0.975))
    return float(low), float(high)


def _shown(cells: Sequence[Cell], options: Mapping[str, str], bold: bool) -> str:
    value = _mean(cells)
    if value is None:
        return "–"
    text = _percent(value, options)
    if bold:
        text = f"**{text}**"
    if options.get("interval") == "yes" and (ends := _interval(cells)):
        text += f" ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})"
    return text


def _interval(cells: Sequence[Cell]) -> Sequence[float] | None:
    """The run's own for one cell; for a mean of victims from their right answers, if there."""
    if len(cells) == 1 and "interval" in cells[0]:
        found: Sequence[float] = cells[0]["interval"]
        return found
    hits = _hits(cells)
    return None if hits is None else interval(hits)


def _gain(cells: Sequence[Cell], base: Sequence[Cell], options: Mapping[str, str]) -> str:
    """Difference of means over the same images and victims, with its paired interval."""
    ours, theirs = _hits(cells), _hits(base)
    if ours is None or theirs is None or len(ours) != len(theirs):
        return "–"
    ends = interval(ours - theirs)
    return number(
        [100 * float((ours - theirs).mean()), *(100 * end for end in ends)],
        int(options.get("digits", 1)),
    )


def _percent(value: float, options: Mapping[str, str]) -> str:
    return f"{100 * value:.{int(options.get('digits', 1))}f}"


def _best(values: Sequence[Sequence[float | None]], where: str) -> set[tuple[int, int]]:
    if where == "no":
        return set()
    if where == "column":
        turned = _best(list(zip(*values, strict=True)), "row")
        return {(i, j) for j, i in turned}
    found = set()
    for i, row in enumerate(values):
        known = [round(value, 9) for value in row if value is not None]
        if known and min(known) < max(known):
            found |= {
                (i, j) for j, v in enumerate(row) if v is not None and round(v, 9) == max(known)
            }
    return found


def rows(result: str) -> list[str]:
    """The attacked images of a kept run, as its table calls them."""
    return list(dict.fromkeys(_field(cell, "attack") for cell in load(result)["cells"]))


def value(result: str, images: str, defense: str, victims: str, metric: str = "") -> float:
    """Percent, the mean of a kept run's victims but the surrogate.

    Args:
        result: Name of the kept run.
        images: As its table calls them, such as ``mi-fgsm 16, Lite0``.
        defense: Its spec.
        victims: How their names begin; empty for all.
        metric: Where there are several.
    """
    found = [
        100 * cell["value"]
        for cell in load(result)["cells"]
        if _field(cell, "attack") == images
        and cell["defense"] == defense
        and cell["victim"].startswith(victims)
        and cell.get("in_mean", True)
        and metric in ("", cell["metric"])
    ]
    return float(np.mean(found))
