"""Results of evaluations: numbers with all that decided them, in memory and in ``run.json``.

Plain Python and JSON: nothing here imports torch or numpy.
"""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports
from nrpurify.results.variants import variants  # its module has the same name

if TYPE_CHECKING:
    from nrpurify.results.ids import result_id
    from nrpurify.results.reader import RUN_FILE, parse_run, read_result, read_run
    from nrpurify.results.result import SCHEMA, Estimate, Result, Run
    from nrpurify.results.statistics import paired_bootstrap, share, wilson_interval
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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.results.ids": ("result_id",),
        "nrpurify.results.reader": (
            "RUN_FILE",
            "parse_run",
            "read_result",
            "read_run",
        ),
        "nrpurify.results.result": (
            "SCHEMA",
            "Estimate",
            "Result",
            "Run",
        ),
        "nrpurify.results.statistics": (
            "paired_bootstrap",
            "share",
            "wilson_interval",
        ),
        "nrpurify.results.writer": ("write_run",),
    },
)
