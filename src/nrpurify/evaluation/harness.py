"""The old place of :mod:`nrpurify.evaluation.batches`; it goes with 0.3."""

import warnings

from nrpurify.evaluation.batches import Attack, Batch, ImageMap, check_budget
from nrpurify.evaluation.in_memory import Tally, Views, evaluate

__all__ = ["Attack", "Batch", "ImageMap", "Tally", "Views", "check_budget", "evaluate"]

warnings.warn(
    "nrpurify.evaluation.harness is now nrpurify.evaluation; the old name goes with 0.3",
    DeprecationWarning,
    stacklevel=2,
)
