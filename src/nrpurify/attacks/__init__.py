"""Attacks: what turns images into adversarial ones."""

from nrpurify.attacks.adaptive import BPDA, EOT
from nrpurify.attacks.dim import dim
from nrpurify.attacks.ensemble import Ensemble
from nrpurify.attacks.fgsm import fgsm
from nrpurify.attacks.goal import random_targets
from nrpurify.attacks.ifgsm import i_fgsm
from nrpurify.attacks.mifgsm import mi_fgsm
from nrpurify.attacks.noise import noise
from nrpurify.attacks.pgd import pgd
from nrpurify.attacks.registry import get, names
from nrpurify.attacks.rfgsm import r_fgsm
from nrpurify.attacks.ssp import PRESETS, SSP, SspSettings, ssp
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.tap import tap
from nrpurify.attacks.ti import dim_ti, fgsm_ti, mi_fgsm_ti

__all__ = [
    "BPDA",
    "EOT",
    "PRESETS",
    "SSP",
    "Ensemble",
    "SspSettings",
    "dim",
    "dim_ti",
    "fgsm",
    "fgsm_ti",
    "frozen",
    "get",
    "i_fgsm",
    "mi_fgsm",
    "mi_fgsm_ti",
    "names",
    "noise",
    "pgd",
    "r_fgsm",
    "random_targets",
    "ssp",
    "tap",
]
