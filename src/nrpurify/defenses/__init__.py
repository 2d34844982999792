"""Defenses in front of models."""

from nrpurify.defenses.chain import Chain
from nrpurify.defenses.jpeg import JPEG
from nrpurify.defenses.median import Median
from nrpurify.defenses.nips_r3 import NeurIPSr3
from nrpurify.defenses.noise import GaussianNoise
from nrpurify.defenses.protected import MajorityVote, Protected, protect
from nrpurify.defenses.randomness import reseed
from nrpurify.defenses.registry import Entry, get, make, names, settings
from nrpurify.defenses.rp import RandomPad
from nrpurify.defenses.tvm import TVM
from nrpurify.defenses.wavelet import Wavelet

__all__ = [
    "JPEG",
    "TVM",
    "Chain",
    "Entry",
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
    "reseed",
    "settings",
]
