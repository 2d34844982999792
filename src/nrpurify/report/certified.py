"""The curve of ``nrpurify certify`` as an SVG file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nrpurify.core.words import plural
from nrpurify.report.curves import Plot
from nrpurify.report.svg import draw

_STYLE = (
    "<style>text{font:10px sans-serif;fill:#444}.end{text-anchor:end}.middle{text-anchor:middle}"
    ".grid{stroke:#ddd;fill:none}.line{stroke:#06c;fill:none}.curve path{stroke:#06c}</style>"
)


def draw_certified(summary: Mapping[str, Any]) -> str:
    """Certified accuracy against the l2 radius.

    Args:
        summary: Of :meth:`nrpurify.evaluation.certify_run.Certified.summary`.
    """
    points = tuple((float(r), share) for r, share in summary["certified_accuracy"].items())
    settings = summary["settings"]
    purifier = settings["purifier"] or "none"
    plot = Plot(
        f"{settings['victim']}, sigma {settings['sigma']:g}",
        plural(summary["images"], "image"),
        "l2 radius",
        "certified accuracy",
        {purifier: points},
    )
    svg = draw(plot, [purifier]).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="680" ', 1
    )
    start = svg.index(">") + 1
    return f"{svg[:start]}{_STYLE}{svg[start:]}\n"
