"""A run as one self-contained HTML page.

Everything is inline, and a content security policy forbids all requests. The one script sorts
tables; the policy admits it by its hash, and the page is complete without it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from typing import Any

from nrpurify.core.words import plural
from nrpurify.report.breakdown import Breakdown, breakdowns, interval
from nrpurify.report.curves import Plot, plots
from nrpurify.report.drawings import Drawing
from nrpurify.report.environment import data_uri, environment, to_json
from nrpurify.report.matrix import NO_DEFENSE, Matrix, matrix
from nrpurify.report.page import Strip
from nrpurify.report.paper_claims import read_claims
from nrpurify.report.paper_comparison import compare_with_paper
from nrpurify.report.run import Cell, Run
from nrpurify.report.summary import sentence
from nrpurify.report.svg import draw, legend
from nrpurify.report.tables import name_of
from nrpurify.report.threats import rank
from nrpurify.results.misjudged import MISJUDGED


@dataclass(frozen=True)
class Part:
    """All that the page shows of one (task, metric)."""

    name: str
    summary: str
    matrix: Matrix
    breakdowns: Sequence[Breakdown]
    plots: Sequence[Plot]

    @property
    def compares(self) -> bool:
        """Whether several defenses stand in its matrix."""
        return len([name for name in self.matrix.defenses if name != NO_DEFENSE]) > 1


def render_run(run: Run, strips: Sequence[Strip] = (), drawings: Sequence[Drawing] = ()) -> str:
    """Render a run.

    Args:
        run: See :func:`nrpurify.report.run.read_run`.
        strips: Its pictures, see :func:`nrpurify.report.pictures.read_strips`.
        drawings: Its plots, see :func:`nrpurify.report.drawings.read_drawings`.

    Raises:
        InputError: An entry of ``paper`` is incomplete, or ``settings.paper`` is not what
            ``nrpurify paper run`` writes.
        MissingExtraError: jinja2 is not installed.
    """
    made = environment()
    made.filters |= {"interval": interval, "draw": draw, "legend": legend}
    template = made.get_template("run.html.j2")
    script = _script()
    return template.render(
        run=run,
        parts=[_part(run, kind) for kind in run.kinds()],
        misjudged=MISJUDGED,
        warnings=[(warning, _places(run, warning["cells"] or ())) for warning in run.warnings],
        cells=sorted(run.cells, key=lambda cell: rank(cell.threat)),
        columns=_columns(run.cells),
        papers=compare_with_paper(run),
        claims=read_claims(run),
        drawings=drawings,
        strips=strips,
        quality=None,
        about=_about(run),
        settings_json=to_json(_settings(run)),
        run_uri=data_uri("application/json", to_json(run.raw).encode()),
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
    )


def _part(run: Run, kind: tuple[str, str]) -> Part:
    shown = matrix(run, kind)
    return Part(name_of(kind), sentence(shown), shown, breakdowns(run, kind), plots(run, kind))


def _places(run: Run, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Places and ids of some cells; of those that differ in their metric alone the first."""
    known = {cell.id: (cell.place, cell.threat) for cell in run.cells}
    first: dict[tuple[str, str], str] = {}
    for one in ids:
        first.setdefault(known.get(one, (one, "")), one)
    return [(place, one) for (place, _), one in first.items()]


def _about(run: Run) -> str:
    """Images, victims and seed in one line; of a run of pictures alone images and seed."""
    images = {k: v for k, v in (run.raw.get("images") or {}).items() if v}
    victims = len({cell.victim for cell in run.cells})
    parts = [plural(images["n"], "image")] if "n" in images else []
    parts += [f"of {images['size']} pixels"] if "size" in images else []
    parts += [f"from {images['folder']}"] if "folder" in images else []
    ending = []
    if run.cells:
        ending = [plural(victims, "victim"), plural(len(run.cells), "cell")]
    ending += [f"seed {run.raw['seed']}"] if "seed" in run.raw else []
    return ", ".join([" ".join(parts), *ending] if parts else ending)


def _settings(run: Run) -> dict[str, Any]:
    keys = (
        "name",
        "created",
        "seed",
        "precision",
        "images",
        "settings",
        "versions",
        "weights_sha256",
    )
    return {key: run.raw[key] for key in keys if key in run.raw}


def _columns(cells: Sequence[Cell]) -> dict[str, str]:
    """Headings of the optional columns that some cell fills, by attribute."""
    names = {
        "surrogate": "made on",
        "steps": "steps",
        "draws": "draws",
        "n": "images",
        "success": "success",
        "conditional_success": "conditional",
        "rounding": "input",
        "seconds": "seconds",
        "peak_memory_mb": "memory, MB",
        "seed": "seed",
    }
    return {k: v for k, v in names.items() if any(getattr(c, k) is not None for c in cells)}


def _script() -> str:
    place = resources.files("nrpurify.report") / "templates" / "sort.js"
    return place.read_text(encoding="utf-8")
