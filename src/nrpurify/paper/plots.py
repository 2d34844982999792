"""Plots as SVG files, by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nrpurify.core.errors import MissingExtraError
from nrpurify.core.files import atomic_path


@contextmanager
def _axes(path: Path, title: str, across: str, up: str) -> Iterator[Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "paper") from error
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=across, ylabel=up)
    yield axes
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def lines(
    path: Path,
    curves: Mapping[str, Mapping[float, float]],
    *,
    title: str,
    across: str,
    up: str,
) -> None:
    """Write curves, each {x: y}, as the picture ``path`` (its suffix decides the format).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _axes(path, title, across, up) as axes:
        for name, points in curves.items():
            axes.plot(list(points), list(points.values()), marker="o", label=name)
        axes.legend()
        axes.grid(alpha=0.3)


def bars(path: Path, heights: Mapping[str, float], *, title: str, up: str) -> None:
    """Write one horizontal bar a name; errors as :func:`lines`."""
    with _axes(path, title, up, "") as axes:
        axes.barh(list(heights), list(heights.values()))
        axes.invert_yaxis()


def clouds(
    path: Path, clouds: Mapping[str, Sequence[tuple[float, float, int]]], *, title: str
) -> None:
    """Write points (x, y, class), one picture beside the other; errors as :func:`lines`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "paper") from error
    figure = Figure(figsize=(4.5 * len(clouds), 4.5), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, len(clouds), squeeze=False)[0]
    for axes, (name, points) in zip(panels, clouds.items(), strict=True):
        across, up, color = zip(*points, strict=True)
        axes.scatter(across, up, c=color, cmap="tab20", s=12)
        axes.set(title=name, xticks=[], yticks=[])
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
