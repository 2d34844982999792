"""The paper, as commands: one experiment for each of its tables and figures."""

from nrpurify.paper.bench import Bench
from nrpurify.paper.catalogue import get, names
from nrpurify.paper.experiment import (
    SMOKE_WARNING,
    Experiment,
    Finding,
    Outcome,
    Quoted,
)
from nrpurify.paper.run import Result, run_all, run_experiment
from nrpurify.paper.substitutes import SCALES, Scale

__all__ = [
    "SCALES",
    "SMOKE_WARNING",
    "Bench",
    "Experiment",
    "Finding",
    "Outcome",
    "Quoted",
    "Result",
    "Scale",
    "get",
    "names",
    "run_all",
    "run_experiment",
]
