"""Attacks: what turns images into adversarial ones."""

from nrpurify.attacks.adaptive import BPDA, EOT
from nrpurify.attacks.apgd import apgd_ce, apgd_dlr
from nrpurify.attacks.cda import cda
from nrpurify.attacks.dim import dim
from nrpurify.attacks.ensemble import Ensemble
from nrpurify.attacks.fff import fff, fff_perturbation
from nrpurify.attacks.fgsm import fgsm
from nrpurify.attacks.fsa import fsa
from nrpurify.attacks.goal import random_targets
from nrpurify.attacks.ifgsm import i_fgsm
from nrpurify.attacks.mifgsm import mi_fgsm
from nrpurify.attacks.noise import noise
from nrpurify.attacks.pgd import pgd
from nrpurify.attacks.registry import get, names
from nrpurify.attacks.rfgsm import r_fgsm
from nrpurify.attacks.square import square
from nrpurify.attacks.ssp import PRESETS, SSP, SspSettings, ssp
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.tap import tap
from nrpurify.attacks.ti import dim_ti, fgsm_ti, mi_fgsm_ti
from nrpurify.attacks.trained import load_generator, load_pattern

__all__ = [
    "BPDA",
    "EOT",
    "PRESETS",
    "SSP",
    "Ensemble",
    "SspSettings",
    "apgd_ce",
    "apgd_dlr",
    "cda",
    "dim",
    "dim_ti",
    "fff",
    "fff_perturbation",
    "fgsm",
    "fgsm_ti",
    "frozen",
    "fsa",
    "get",
    "i_fgsm",
    "load_generator",
    "load_pattern",
    "mi_fgsm",
    "mi_fgsm_ti",
    "names",
    "noise",
    "pgd",
    "r_fgsm",
    "random_targets",
    "square",
    "ssp",
    "tap",
]
