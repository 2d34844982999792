"""The demo page: what was done, the table of accuracies, and every photograph as a strip.

The page needs nothing but itself: styles are inline, images are WebP in data URIs, there is no
script, and a content security policy forbids every request. The pictures illustrate; the numbers
are of the exact images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrpurify.core.errors import InputError
from nrpurify.core.files import write_text
from nrpurify.report.environment import data_uri, environment, to_json

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

QUALITY = 70
"""Of the pictures, so that twenty photographs take less than 2 MB."""
CONDITIONS = {
    "clean": "Clean",
    "attacked": "Attacked",
    "purified": "Purified",
    "purified_clean": "Purified clean",
}
"""The columns of the table: key in the results and heading."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a strip.

    Attributes:
        title: what the picture is, such as "Purified".
        image: 3×H×W float in [0, 1], or a Pillow image.
        predicted: name of the class that the shown victim gives, or None for no prediction.
        confidence: its probability in [0, 1], or None.
        correct: whether it is the true class; None without a prediction.

    """

    title: str
    image: Tensor | Image
    predicted: str | None = None
    confidence: float | None = None
    correct: bool | None = None

    @property
    def width(self) -> int:
        """Of the image, in pixels."""
        return int(self.image.shape[2] if hasattr(self.image, "shape") else self.image.width)

    @property
    def height(self) -> int:
        """Of the image, in pixels."""
        return int(self.image.shape[1] if hasattr(self.image, "shape") else self.image.height)


@dataclass(frozen=True, eq=False)
class Strip:
    """One photograph: its file name, the name of its true class, and its panels in order."""

    name: str
    true_label: str
    panels: list[Panel]


def difference_panel(clean: Tensor, attacked: Tensor, *, gain: int = 10) -> Panel:
    """Show attacked − clean (both 3×H×W in [0, 1]) around middle grey: 0.5 + gain·δ, clamped."""
    image = (0.5 + gain * (attacked - clean)).clamp(0, 1)
    return Panel(f"Difference × {gain}", image)


def render_demo(
    result: Mapping[str, Any], strips: Sequence[Strip], *, victim: str | None = None
) -> str:
    """Render the results of a demo as one HTML page.

    Args:
        result: ``{"n": 20, "settings": {...}, "victims": {NAME: {"clean": 0.85, "attacked": ...,
            "purified": ..., "purified_clean": ...}}, "mean": {the same four}}``, accuracies in
            [0, 1]. Of the settings, `attack`, `surrogate`, `layer`, `eps` (a number in [0, 1] or
            text), `purifier` and `seed` stand in a sentence; all are listed at the end. Of the
            result, ``notes`` (texts), where there are any, stand below the table.
        strips: the photographs, in order.
        victim: name of the victim whose predictions the panels show.

    Raises:
        InputError: `result` lacks a part.
        MissingExtraError: jinja2 is not installed.

    """
    _check(result)
    settings = result["settings"]
    return (
        environment()
        .get_template("demo.html.j2")
        .render(
            result=result,
            settings=settings,
            settings_json=to_json(settings),
            result_uri=data_uri("application/json", to_json(result).encode()),
            conditions=CONDITIONS,
            strips=strips,
            victim=victim,
            quality=QUALITY,
        )
    )


def write_demo(
    path: str | Path,
    result: Mapping[str, Any],
    strips: Sequence[Strip],
    *,
    victim: str | None = None,
) -> None:
    """Write the page of :func:`render_demo` atomically; raises OSError when that fails."""
    write_text(path, render_demo(result, strips, victim=victim))


def _check(result: Mapping[str, Any]) -> None:
    lacking = [key for key in ("n", "settings", "victims", "mean") if key not in result]
    rows = {} if lacking else {**result["victims"], "mean": result["mean"]}
    lacking += [f"{row}.{key}" for row in rows for key in CONDITIONS if key not in rows[row]]
    if lacking:
        raise InputError(f"the demo result lacks {', '.join(lacking)}; see render_demo")
