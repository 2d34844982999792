"""Plots of committed results, as SVG files that follow the reader's light or dark scheme.

``python tools/plots.py`` writes ``docs/figures/plot-*.svg``. Each file holds the hash of the
results that it shows; a test compares it with those that are committed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kept_results
import tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
LIGHT_AND_DARK = {
    "#101010": ("ink", "#24292f", "#d7dce2"),
    "#101011": ("grid", "#d8dee4", "#3b424c"),
    "#101012": ("a", "#0969da", "#58a6ff"),
    "#101013": ("b", "#bc4c00", "#f0883e"),
    "#101014": ("c", "#1a7f37", "#56d364"),
    "#101015": ("d", "#8250df", "#bc8cff"),
    "#101016": ("e", "#6e7781", "#8b949e"),
}
"""What matplotlib draws with, and what readers see: names, and colors of the two schemes."""
INK, GRID, *COLORS = LIGHT_AND_DARK
MARKERS = "osD^v"
Draw = Callable[..., None]


def surrogate_means(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Success rates in percent, means over victims, by label and defense with eps or steps."""
    found: dict[Any, list[float]] = {}
    for cell in cells:
        if cell.get("in_mean", True) and "eps" in cell:
            name = cell["label"].partition(",")[0]
            key = (name, cell["defense"], round(255 * cell["eps"]), cell["steps"])
            found.setdefault(key, []).append(100 * (1 - cell["value"]))
    return {key: sum(values) / len(values) for key, values in found.items()}


def against(axes: Axes, curves: Mapping[str, Any], place: int, fixed: int, across: str) -> None:
    """Success against eps (``place`` 2) or steps (3), where the other of the two is ``fixed``."""
    means = surrogate_means(curves["cells"])
    names = list(dict.fromkeys(key[0] for key in means))
    for name, color, marker in zip(names, COLORS, MARKERS, strict=False):
        for defense, style in (("none", "-"), ("fast", "--")):
            points = sorted(
                (key[place], value)
                for key, value in means.items()
                if key[:2] == (name, defense) and key[5 - place] == fixed
            )
            if len(points) > 1:
                label = name + (", behind fast" if defense == "fast" else "")
                axes.plot(
                    *zip(*points, strict=True), style, color=color, marker=marker, label=label
                )
    clean = [
        100 * (1 - cell["value"])
        for cell in curves["cells"]
        if cell["attack"] == "clean" and cell["defense"] == "none"
    ]
    axes.axhline(sum(clean) / len(clean), color=COLORS[-1], linestyle=":", label="no attack")
    axes.set(xlabel=across, ylabel="success rate, %", ylim=(0, 100))
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=3, columnspacing=1)


def success_eps(axes: Axes, curves: Mapping[str, Any]) -> None:
    """Success against eps."""
    against(axes, curves, 2, 10, "eps, of 255")
    axes.set_xticks([2, 4, 8, 16])


def success_steps(axes: Axes, curves: Mapping[str, Any]) -> None:
    """Success against steps at 16/255."""
    against(axes, curves, 3, 16, "steps, at eps 16/255")
    axes.set_xticks([2, 5, 10, 20])


TIMES = {
    "jpeg:quality=75": "jpeg:quality=75",
    "jpeg:quality=50": "jpeg:quality=75",
    "jpeg:quality=20": "jpeg:quality=75",
    "tvm:weight=30": "tvm:weight=30",
    "tvm:weight=10": "tvm:weight=30",
    "median": "median:size=3",
    "fast": "fast",
    "tiny": "tiny",
}
"""Whose time stands for whose: a setting of the same transformation changes it little."""


def cost(axes: Axes, found: Mapping[str, Any], speed: Mapping[str, Any]) -> None:
    """Mean accuracy under attacks at 16/255, and on clean images, beside the time of an image."""
    sides = speed["rows"][0]["sides"]
    points = []
    for defense, timed in TIMES.items():
        name = tables.NAMES[defense].strip("`")
        points.append((name, 1000 * sides[timed]["median"], *_means(found, defense)))
    axes.set(xscale="log", xlabel="ms an image", ylabel="accuracy, %", ylim=(0, 100))
    axes.set_xlim(1, 200)
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    for _, ms, clean, attacked in points:
        axes.plot([ms, ms], [clean, attacked], color=GRID, linewidth=2, zorder=0)
    _label(axes, [(name, (ms, attacked)) for name, ms, _, attacked in points])
    _label(axes, [(name, (ms, clean)) for name, ms, clean, _ in points])
    x = [point[1] for point in points]
    axes.plot(x, [point[2] for point in points], MARKERS[1], color=COLORS[2], label="clean")
    axes.plot(x, [point[3] for point in points], MARKERS[0], color=COLORS[0], label="at 16/255")
    _, attacked = _means(found, "none")
    axes.axhline(attacked, color=COLORS[-1], linestyle=":", label="no defense, at 16/255")
    axes.legend(loc="lower right")


def _means(found: Mapping[str, Any], defense: str) -> tuple[float, float]:
    """Clean accuracy, and the mean over attacks at 16/255, in percent."""
    cells = [cell for cell in found["cells"] if cell["defense"] == defense]
    clean = [100 * cell["value"] for cell in cells if cell["attack"] == "clean"]
    attacked = [100 * cell["value"] for cell in cells if round(255 * cell.get("eps", 0)) == 16]
    return sum(clean) / len(clean), sum(attacked) / len(attacked)


def _label(axes: Axes, named: Sequence[tuple[str, tuple[float, float]]], gap: float = 4.6) -> None:
    """Names to the right of their points; of those at the same x, at least ``gap`` apart."""
    low, high = axes.get_ylim()
    gap *= (high - low) / 100
    by_x: dict[float, list[tuple[float, str]]] = {}
    for name, (x, y) in named:
        by_x.setdefault(x, []).append((y, name))
    for x, found in by_x.items():
        last = float("-inf")
        for y, name in sorted(found):
            last = max(y, last + gap)
            axes.annotate(
                name, (x, last), (7, -4), textcoords="offset points", color=INK, fontsize=9.5
            )


def attack_cost(axes: Axes, matrix: Mapping[str, Any]) -> None:
    """Success on unseen networks beside gradients an image, from the surrogate of most attacks."""
    found = _costs(matrix)
    nets = [surrogate for _, surrogate in found]
    most = max(set(nets), key=nets.count)
    points = {name: point for (name, surrogate), point in found.items() if surrogate == most}
    axes.plot(*zip(*points.values(), strict=True), MARKERS[0], color=COLORS[0], label=f"on {most}")
    axes.set(
        xscale="log",
        xlabel="gradients an image",
        ylabel="success rate on unseen networks, %",
        xlim=(8, 160),
        ylim=(50, 90),
    )
    axes.set_xticks([10, 20, 30, 40, 100], ["10", "20", "30", "40", "100"])
    axes.set_xticks([], minor=True)
    _label(axes, list(points.items()), gap=4)
    axes.legend(loc="lower right")


def _costs(matrix: Mapping[str, Any]) -> dict[tuple[str, str], tuple[float, float]]:
    """Gradients an image, and success in percent on unseen networks, of attack and surrogate."""
    wrong: dict[tuple[str, str], list[float]] = {}
    gradients: dict[tuple[str, str], float] = {}
    for cell in matrix["cells"]:
        if cell["defense"] == "none" and cell.get("in_mean", True) and "surrogate" in cell:
            nets = [tables.NAMES.get(net, net) for net in cell["surrogate"].split(",")]
            key = (cell.get("label") or cell["attack"], " + ".join(nets))
            gradients[key] = float(tables.gradients(cell, matrix["plan"]).replace(",", ""))
            wrong.setdefault(key, []).append(100 * (1 - cell["value"]))
    return {key: (gradients[key], sum(values) / len(values)) for key, values in wrong.items()}


def radius(axes: Axes, *found: Mapping[str, Any]) -> None:
    """Certified accuracy against the l2 radius."""
    for one, color in zip(found, COLORS, strict=False):
        settings = one["settings"]
        radii = sorted(one["rows"])
        top = 1.2 * max(radii)
        grid = [top * i / 300 for i in range(301)]
        shares = [100 * sum(r >= max(x, 1e-9) for r in radii) / len(radii) for x in grid]
        purifier = Path(settings.get("purifier", "no denoiser")).stem
        axes.plot(grid, shares, color=color, label=f"{purifier}, σ {settings['sigma']:g}")
    axes.set(xlabel="l2 radius", ylabel="certified accuracy, %", ylim=(0, 100))
    axes.legend()


PLOTS: dict[str, tuple[Draw, tuple[str, ...], tuple[float, float]]] = {
    "success-eps": (success_eps, ("curves",), (5.4, 3.6)),
    "success-steps": (success_steps, ("curves",), (5.4, 3.6)),
    "attack-cost": (attack_cost, ("matrix-50",), (5.4, 4.6)),
    "certified": (radius, ("certify-025",), (5.4, 3.6)),
    "cost": (cost, ("transformations", "speed"), (5.4, 4.2)),
}


def sources(names: Sequence[str]) -> str:
    """The hash of the results of a plot, without what does not show."""
    kept = [kept_results.load(name) for name in names]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def draw(name: str) -> str:
    """The SVG file of a plot."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    function, names, size = PLOTS[name]
    look = {
        "font.size": 11,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": ["DejaVu Sans"],
        "axes.edgecolor": GRID,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "lines.markersize": 5.5,
    }
    with mpl.rc_context(look):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.grid()
        axes.set_axisbelow(True)
        function(axes, *(kept_results.load(one) for one in names))
        file = io.StringIO()
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _schemed(file.getvalue(), sources(names))


def _schemed(svg: str, digest: str) -> str:
    """Colors as variables with values for both schemes, fonts of the reader's, and the hash."""
    for drawn, (name, light, _) in LIGHT_AND_DARK.items():
        svg = svg.replace(drawn, f"var(--{name},{light})")
    svg = re.sub(r"'DejaVu Sans'(, sans-serif)?", "system-ui, sans-serif", svg)
    light, dark = (
        ";".join(f"--{colors[0]}:{colors[which]}" for colors in LIGHT_AND_DARK.values())
        for which in (1, 2)
    )
    style = (
        f"<!-- results {digest} -->\n<style>:root{{{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>\n"
    )
    start = svg.index("<svg")
    end = svg.index(">", start) + 1
    return svg[:end] + "\n" + style + svg[end:].lstrip()


def main() -> None:
    """Write all plots whose results are there."""
    for name, (_, names, _) in PLOTS.items():
        if all((kept_results.RESULTS / f"{one}.json").exists() for one in names):
            (FIGURES / f"plot-{name}.svg").write_text(draw(name), encoding="utf-8")
        else:
            print(f"{name}: no results yet")


if __name__ == "__main__":
    main()
