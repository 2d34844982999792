"""Evaluation: accuracy and success rate, clean, attacked and purified."""

from nrpurify.evaluation.folder import VICTIMS, Outcome, Plan, evaluate_folder, evaluate_images
from nrpurify.evaluation.harness import Tally, Views, check_budget, evaluate, summarize
from nrpurify.evaluation.metrics import wilson_interval

__all__ = [
    "VICTIMS",
    "Outcome",
    "Plan",
    "Tally",
    "Views",
    "check_budget",
    "evaluate",
    "evaluate_folder",
    "evaluate_images",
    "summarize",
    "wilson_interval",
]
