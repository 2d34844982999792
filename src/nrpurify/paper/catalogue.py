"""Every table and figure of the paper, in its order."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from nrpurify.core.config import read_yaml
from nrpurify.core.errors import InputError
from nrpurify.core.registry import near_matches
from nrpurify.paper.experiment import Experiment

_PREFIXES = ("table", "figure", "appendix-table", "appendix-figure")


def _order(name: str) -> tuple[int, int]:
    prefix = name.rstrip("0123456789")
    return _PREFIXES.index(prefix), int(name.removeprefix(prefix))


def _file(name: str) -> Path:
    return Path(str(resources.files("nrpurify.paper"))) / "reference" / f"{name}.yaml"


@cache
def names() -> tuple[str, ...]:
    """All names: tables, figures, then those of the appendix."""
    return tuple(sorted((path.stem for path in _file("x").parent.glob("*.yaml")), key=_order))


@cache
def get(name: str) -> Experiment:
    """Look an experiment up.

    Raises:
        InputError: No such table or figure; near matches are named.
        MissingExtraError: PyYAML is not installed.
    """
    if name not in names():
        raise InputError(f"the paper has no {name!r} here; {near_matches(name, list(names()))}")
    values, _ = read_yaml(_file(name))
    return Experiment.from_dict(name, values)
