"""Defenses in front of models; the names are loaded when they are first used."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.defenses.jpeg": ("JPEG",),
        "nrpurify.defenses.tvm": ("TVM",),
        "nrpurify.defenses.chain": ("Chain",),
        "nrpurify.defenses.noise": ("GaussianNoise",),
        "nrpurify.defenses.protected": (
            "MajorityVote",
            "Protected",
            "protect",
        ),
        "nrpurify.defenses.median": ("Median",),
        "nrpurify.defenses.nips_r3": ("NeurIPSr3",),
        "nrpurify.defenses.rp": ("RandomPad",),
        "nrpurify.defenses.wavelet": ("Wavelet",),
        "nrpurify.defenses.create": (
            "get",
            "make",
            "names",
            "settings",
        ),
        "nrpurify.defenses.registry": ("register_defense",),
        "nrpurify.defenses.randomness": ("reseed",),
    },
)
