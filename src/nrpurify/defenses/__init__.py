"""Defenses in front of models; the names are loaded when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrpurify.defenses.chain import Chain
    from nrpurify.defenses.create import get, make, names, settings
    from nrpurify.defenses.jpeg import JPEG
    from nrpurify.defenses.median import Median
    from nrpurify.defenses.nips_r3 import NeurIPSr3
    from nrpurify.defenses.noise import GaussianNoise
    from nrpurify.defenses.protected import MajorityVote, Protected, protect
    from nrpurify.defenses.randomness import reseed
    from nrpurify.defenses.registry import register_defense
    from nrpurify.defenses.rp import RandomPad
    from nrpurify.defenses.tvm import TVM
    from nrpurify.defenses.wavelet import Wavelet

_HOMES = {
    "JPEG": "jpeg",
    "TVM": "tvm",
    "Chain": "chain",
    "GaussianNoise": "noise",
    "MajorityVote": "protected",
    "Median": "median",
    "NeurIPSr3": "nips_r3",
    "Protected": "protected",
    "RandomPad": "rp",
    "Wavelet": "wavelet",
    "get": "create",
    "make": "create",
    "names": "create",
    "protect": "protected",
    "register_defense": "registry",
    "reseed": "randomness",
    "settings": "create",
}

__all__ = [
    "JPEG",
    "TVM",
    "Chain",
    "GaussianNoise",
    "MajorityVote",
    "Median",
    "NeurIPSr3",
    "Protected",
    "RandomPad",
    "Wavelet",
    "get",
    "make",
    "names",
    "protect",
    "register_defense",
    "reseed",
    "settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
