"""Line plots as inline SVG: colors and shapes come in fixed pairs, so neither is needed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from nrpurify.report.curves import Plot
from nrpurify.report.environment import percent

STYLES = 8
"""How many pairs of color and shape there are; the ninth curve looks like the first, dashed."""

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 10, 40

_SHAPES = (
    "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z",
    "M-3,-3h6v6h-6z",
    "M0,-4l4,7h-8z",
    "M0,-4l4,4l-4,4l-4,-4z",
    "M0,4l4,-7h-8z",
    "M-3,-3l6,6M-3,3l6,-6",
    "M0,-4v8M-4,0h8",
    "M-4,-2h8v4h-8z",
)


@dataclass(frozen=True)
class Look:
    """Color, shape and dash of a curve, by its place among all defenses."""

    place: int

    @property
    def classes(self) -> str:
        """CSS classes of the curve."""
        dashed = " dashed" if self.place >= STYLES else ""
        return f"curve c{self.place % STYLES}{dashed}"

    def marker(self, x: float, y: float, title: str) -> str:
        """The shape at a point, with a tooltip."""
        path = f'<path d="{_SHAPES[self.place % STYLES]}" transform="translate({x:.1f},{y:.1f})">'
        return f"{path}<title>{escape(title)}</title></path>"

    @property
    def sample(self) -> str:
        """A bit of the curve for a legend."""
        return (
            f'<svg class="sample" viewBox="0 0 28 12" aria-hidden="true"><g class="{self.classes}">'
            f'<path class="line" d="M1,6h26"/>{self.marker(14, 6, "")}</g></svg>'
        )


@dataclass(frozen=True)
class _Scale:
    """Data to pixels; y is 0 to 1."""

    xs: Sequence[float]
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", min(0.0, *self.xs))
        object.__setattr__(self, "high", max(self.xs))

    def x(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return TOP + (1 - value) * (HEIGHT - TOP - BOTTOM)


def legend(defenses: Sequence[str]) -> list[tuple[str, str]]:
    """(SVG sample, defense) pairs, in the order in which :func:`draw` counts them."""
    return [(Look(place).sample, defense) for place, defense in enumerate(defenses)]


def draw(plot: Plot, defenses: Sequence[str]) -> str:
    """One plot as an SVG element; ``defenses`` fixes each curve's look. All text is escaped."""
    scale = _Scale(sorted({x for points in plot.series.values() for x, _ in points}))
    curves = [_curve(plot, d, Look(defenses.index(d)), scale) for d in plot.series]
    label = escape(f"{plot.up} against {plot.across}: {plot.title}")
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{_axes(plot, scale)}{''.join(curves)}</svg>"
    )


def _axes(plot: Plot, scale: _Scale) -> str:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = scale.y(share)
        parts.append(f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="end">{percent(share)}</text>')
    for value in _apart(scale):
        text = f'<text x="{scale.x(value):.1f}" y="{HEIGHT - BOTTOM + 16}" class="middle">'
        parts.append(f"{text}{value:.3g}</text>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    caption = f"{plot.up} against {plot.across}"
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" class="middle">{escape(caption)}</text>')
    return "".join(parts)


def _apart(scale: _Scale, pixels: float = 24) -> list[float]:
    """Values of x whose labels do not touch; the last is always among them."""
    kept = [scale.xs[-1]]
    for value in reversed(scale.xs[:-1]):
        if scale.x(kept[-1]) - scale.x(value) >= pixels:
            kept.append(value)
    return kept[::-1]


def _curve(plot: Plot, defense: str, look: Look, scale: _Scale) -> str:
    points = [(scale.x(x), scale.y(y)) for x, y in plot.series[defense]]
    line = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    titles = [f"{defense}, {x:.3g}: {percent(y, 1)}" for x, y in plot.series[defense]]
    markers = [look.marker(x, y, t) for (x, y), t in zip(points, titles, strict=True)]
    return f'<g class="{look.classes}"><path class="line" d="M{line}"/>{"".join(markers)}</g>'
