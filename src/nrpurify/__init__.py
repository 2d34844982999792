"""Protect any vision model from adversarial examples with one purifier network.

The public names are loaded when they are first used, so that the command line starts at once.
"""

from nrpurify.core.lazy import find_old_modules, lazy_exports

TYPE_CHECKING = False  # not from typing: a Ctrl-C while modules are imported ends in a traceback
if TYPE_CHECKING:
    from nrpurify.attacks.registry import register_attack
    from nrpurify.attacks.ssp import SSP, ssp
    from nrpurify.core.errors import NrpurifyError
    from nrpurify.defenses import MajorityVote, Protected, protect, register_defense
    from nrpurify.evaluation import EvaluationPlan, evaluate, register_metric, register_task
    from nrpurify.models import load_classifier, register_victim
    from nrpurify.models.detectors import register_detector
    from nrpurify.models.features import FeatureExtractor, feature_extractor
    from nrpurify.models.segmenters import register_segmenter
    from nrpurify.purifiers import (
        DynamicPurifier,
        Purifier,
        load_purifier,
        register_purifier,
        save_purifier,
    )
    from nrpurify.training import load_recipe, train

__version__ = "0.2.0"

__all__ = [
    "SSP",
    "DynamicPurifier",
    "EvaluationPlan",
    "FeatureExtractor",
    "MajorityVote",
    "NrpurifyError",
    "Protected",
    "Purifier",
    "evaluate",
    "feature_extractor",
    "load_classifier",
    "load_purifier",
    "load_recipe",
    "protect",
    "register_attack",
    "register_defense",
    "register_detector",
    "register_metric",
    "register_purifier",
    "register_segmenter",
    "register_task",
    "register_victim",
    "save_purifier",
    "ssp",
    "train",
]

find_old_modules()
__getattr__, _names = lazy_exports(
    __name__,
    {
        "nrpurify.attacks": ("SSP", "ssp"),
        "nrpurify.attacks.registry": ("register_attack",),
        "nrpurify.core.errors": ("NrpurifyError",),
        "nrpurify.defenses": ("MajorityVote", "Protected", "protect", "register_defense"),
        "nrpurify.evaluation": (
            *("EvaluationPlan", "evaluate", "register_metric", "register_task"),
        ),
        "nrpurify.models": ("load_classifier", "register_victim"),
        "nrpurify.models.detectors": ("register_detector",),
        "nrpurify.models.segmenters": ("register_segmenter",),
        "nrpurify.models.features": ("FeatureExtractor", "feature_extractor"),
        "nrpurify.purifiers": (
            *("DynamicPurifier", "Purifier", "load_purifier", "register_purifier"),
            "save_purifier",
        ),
        "nrpurify.training": ("load_recipe", "train"),
    },
    ("attacks", "data", "defenses", "evaluation", "interop", "models", "purifiers", "training"),
)


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
