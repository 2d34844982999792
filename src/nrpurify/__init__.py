"""Protect any vision model from adversarial examples with one purifier network.

The public names are loaded when they are first used, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrpurify.attacks.registry import register_attack
    from nrpurify.attacks.ssp import SSP, ssp
    from nrpurify.core.errors import NrpurifyError
    from nrpurify.defenses import MajorityVote, Protected, protect, register_defense
    from nrpurify.evaluation import evaluate
    from nrpurify.models import load_classifier, register_victim
    from nrpurify.models.features import FeatureExtractor, feature_extractor
    from nrpurify.purifiers import (
        DynamicPurifier,
        Purifier,
        load_purifier,
        register_purifier,
        save_purifier,
    )
    from nrpurify.training import load_recipe, train

__version__ = "0.1.0"

_HOMES = {
    "SSP": "attacks",
    "ssp": "attacks",
    "register_attack": "attacks.registry",
    "MajorityVote": "defenses",
    "Protected": "defenses",
    "protect": "defenses",
    "register_defense": "defenses",
    "NrpurifyError": "core.errors",
    "evaluate": "evaluation",
    "FeatureExtractor": "models.features",
    "feature_extractor": "models.features",
    "load_classifier": "models",
    "register_victim": "models",
    "DynamicPurifier": "purifiers",
    "Purifier": "purifiers",
    "load_purifier": "purifiers",
    "register_purifier": "purifiers",
    "save_purifier": "purifiers",
    "load_recipe": "training",
    "train": "training",
}

__all__ = [
    "SSP",
    "DynamicPurifier",
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
    "register_purifier",
    "register_victim",
    "save_purifier",
    "ssp",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
