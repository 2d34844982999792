"""Every table and figure of the paper, in its order."""

from __future__ import annotations

from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches
from nrpurify.paper import (
    appendix_table1,
    appendix_table2,
    appendix_tables,
    cross_task,
    curves,
    figure5,
    pictures,
    scene_pictures,
    spaces,
    table1,
    table2,
    table3,
    table5,
    tsne,
)
from nrpurify.paper.experiment import Experiment

_FOUND = (
    table1.EXPERIMENT,
    table2.EXPERIMENT,
    table3.EXPERIMENT,
    table5.EXPERIMENT,
    curves.FIGURE3,
    spaces.FIGURE4,
    figure5.EXPERIMENT,
    appendix_table1.EXPERIMENT,
    appendix_table2.EXPERIMENT,
    spaces.APPENDIX_FIGURE1,
    tsne.EXPERIMENT,
    curves.APPENDIX_FIGURE6,
    *appendix_tables.EXPERIMENTS,
    *cross_task.EXPERIMENTS,
    *pictures.EXPERIMENTS,
    *scene_pictures.EXPERIMENTS,
)
_PREFIXES = ("table", "figure", "appendix-table", "appendix-figure")


def _order(experiment: Experiment) -> tuple[int, int]:
    prefix = experiment.name.rstrip("0123456789")
    return _PREFIXES.index(prefix), int(experiment.name.removeprefix(prefix))


EXPERIMENTS: dict[str, Experiment] = {found.name: found for found in sorted(_FOUND, key=_order)}


def names() -> list[str]:
    """All names: tables, figures, then those of the appendix."""
    return list(EXPERIMENTS)


def get(name: str) -> Experiment:
    """Look an experiment up.

    Raises:
        InputError: No such table or figure; near matches are named.
    """
    if name not in EXPERIMENTS:
        raise InputError(f"the paper has no {name!r} here; {near_matches(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]
