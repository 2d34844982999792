"""Results of evaluations: numbers with all that decided them, in memory and in ``run.json``.

Plain Python and JSON: nothing here imports torch or numpy.
"""

from nrpurify.results.ids import result_id
from nrpurify.results.reader import RUN_FILE, parse_run, read_result, read_run
from nrpurify.results.result import SCHEMA, Estimate, Result, Run
from nrpurify.results.statistics import paired_bootstrap, share, wilson_interval
from nrpurify.results.variants import variants
from nrpurify.results.writer import write_run

__all__ = [
    "RUN_FILE",
    "SCHEMA",
    "Estimate",
    "Result",
    "Run",
    "paired_bootstrap",
    "parse_run",
    "read_result",
    "read_run",
    "result_id",
    "share",
    "variants",
    "wilson_interval",
    "write_run",
]
