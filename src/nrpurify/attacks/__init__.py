"""Attacks: they turn images into adversarial ones.

Names are imported when they are first used, so that ``import nrpurify.attacks`` costs nothing.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrpurify.attacks.admix import Admix, admix
    from nrpurify.attacks.apgd import APGDCE, APGDDLR, apgd_ce, apgd_dlr
    from nrpurify.attacks.apgdt import APGDT, apgd_t
    from nrpurify.attacks.autoattack import AutoAttack, autoattack
    from nrpurify.attacks.base import Attack
    from nrpurify.attacks.bsr import BSR, bsr
    from nrpurify.attacks.cda import CDA, cda
    from nrpurify.attacks.cwa import CWA, cwa
    from nrpurify.attacks.dim import DIM, dim
    from nrpurify.attacks.fab import FABT, fab_t
    from nrpurify.attacks.fff import FFF, fff, fff_perturbation
    from nrpurify.attacks.fgsm import (
        FGSM,
        IFGSM,
        MIFGSM,
        PGD,
        RFGSM,
        fgsm,
        i_fgsm,
        mi_fgsm,
        pgd,
        r_fgsm,
    )
    from nrpurify.attacks.fia import FIA, fia
    from nrpurify.attacks.fsa import FSA, fsa
    from nrpurify.attacks.ghost import Ghost, ghost
    from nrpurify.attacks.gra import GRA, gra
    from nrpurify.attacks.gradient_attack import GradientAttack
    from nrpurify.attacks.info import AttackInfo
    from nrpurify.attacks.logit import Logit, logit
    from nrpurify.attacks.losses import random_targets
    from nrpurify.attacks.minimal import (
        CW,
        DDN,
        FMN,
        DeepFool,
        HopSkipJump,
        cw,
        ddn,
        deepfool,
        fmn,
        hopskipjump,
    )
    from nrpurify.attacks.momentum import InputAttack, MomentumAttack
    from nrpurify.attacks.naa import NAA, naa
    from nrpurify.attacks.nes import NES, nes
    from nrpurify.attacks.ni import NIFGSM, SINIFGSM, ni_fgsm, si_ni_fgsm
    from nrpurify.attacks.noise import Noise, noise
    from nrpurify.attacks.pgn import PGN, pgn
    from nrpurify.attacks.pi import PIFGSM, pi_fgsm
    from nrpurify.attacks.problem import AttackProblem
    from nrpurify.attacks.registry import ATTACKS, create, get, names, register_attack
    from nrpurify.attacks.sgm import SGM, sgm
    from nrpurify.attacks.sia import SIA, sia
    from nrpurify.attacks.simba import SimBA, simba
    from nrpurify.attacks.square import Square, square
    from nrpurify.attacks.ssa import SSA, ssa
    from nrpurify.attacks.ssp import SSP, SelfSupervisedPerturbation, ssp
    from nrpurify.attacks.surrogate import frozen
    from nrpurify.attacks.svre import SVRE, svre
    from nrpurify.attacks.tap import TAP, tap
    from nrpurify.attacks.ti import DIMTI, FGSMTI, MIFGSMTI, dim_ti, fgsm_ti, mi_fgsm_ti
    from nrpurify.attacks.trained import load_generator, load_pattern
    from nrpurify.attacks.vt import VMIFGSM, VNIFGSM, vmi_fgsm, vni_fgsm
    from nrpurify.attacks.wrappers import BPDA, EOT, Ensemble


_FILES = {
    "cwa": ("CWA", "cwa"),
    "fia": ("FIA", "fia"),
    "ila": ("ILA", "ila"),
    "naa": ("NAA", "naa"),
    "nes": ("NES", "nes"),
    "simba": ("SimBA", "simba"),
    "svre": ("SVRE", "svre"),
    "minimal": (
        "CW",
        "DDN",
        "FMN",
        "DeepFool",
        "HopSkipJump",
        "cw",
        "ddn",
        "deepfool",
        "fmn",
        "hopskipjump",
    ),
    "admix": ("Admix", "admix"),
    "bsr": ("BSR", "bsr"),
    "ghost": ("Ghost", "ghost"),
    "gra": ("GRA", "gra"),
    "logit": ("Logit", "logit"),
    "momentum": ("InputAttack", "MomentumAttack"),
    "ni": ("NIFGSM", "SINIFGSM", "ni_fgsm", "si_ni_fgsm"),
    "pgn": ("PGN", "pgn"),
    "pi": ("PIFGSM", "pi_fgsm"),
    "sgm": ("SGM", "sgm"),
    "sia": ("SIA", "sia"),
    "ssa": ("SSA", "ssa"),
    "vt": ("VMIFGSM", "VNIFGSM", "vmi_fgsm", "vni_fgsm"),
    "apgd": ("APGDCE", "APGDDLR", "apgd_ce", "apgd_dlr"),
    "apgdt": ("APGDT", "apgd_t"),
    "autoattack": ("AutoAttack", "autoattack"),
    "base": ("Attack",),
    "gradient_attack": ("GradientAttack",),
    "info": ("AttackInfo",),
    "problem": ("AttackProblem",),
    "cda": ("CDA", "cda"),
    "dim": ("DIM", "dim"),
    "fab": ("FABT", "fab_t"),
    "fff": ("FFF", "fff", "fff_perturbation"),
    "fgsm": (
        *("FGSM", "IFGSM", "MIFGSM", "PGD", "RFGSM"),
        *("fgsm", "i_fgsm", "mi_fgsm", "pgd", "r_fgsm"),
    ),
    "fsa": ("FSA", "fsa"),
    "losses": ("random_targets",),
    "noise": ("Noise", "noise"),
    "registry": ("ATTACKS", "create", "get", "names", "register_attack"),
    "square": ("Square", "square"),
    "ssp": ("SSP", "SelfSupervisedPerturbation", "ssp"),
    "surrogate": ("frozen",),
    "tap": ("TAP", "tap"),
    "ti": ("DIMTI", "FGSMTI", "MIFGSMTI", "dim_ti", "fgsm_ti", "mi_fgsm_ti"),
    "trained": ("load_generator", "load_pattern"),
    "wrappers": ("BPDA", "EOT", "Ensemble"),
}
_HOMES = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "APGDCE",
    "APGDDLR",
    "APGDT",
    "ATTACKS",
    "BPDA",
    "BSR",
    "CDA",
    "CW",
    "CWA",
    "DDN",
    "DIM",
    "DIMTI",
    "EOT",
    "FABT",
    "FFF",
    "FGSM",
    "FGSMTI",
    "FIA",
    "FMN",
    "FSA",
    "GRA",
    "IFGSM",
    "ILA",
    "MIFGSM",
    "MIFGSMTI",
    "NAA",
    "NES",
    "NIFGSM",
    "PGD",
    "PGN",
    "PIFGSM",
    "RFGSM",
    "SGM",
    "SIA",
    "SINIFGSM",
    "SSA",
    "SSP",
    "SVRE",
    "TAP",
    "VMIFGSM",
    "VNIFGSM",
    "Admix",
    "Attack",
    "AttackInfo",
    "AttackProblem",
    "AutoAttack",
    "DeepFool",
    "Ensemble",
    "Ghost",
    "GradientAttack",
    "HopSkipJump",
    "InputAttack",
    "Logit",
    "MomentumAttack",
    "Noise",
    "SelfSupervisedPerturbation",
    "SimBA",
    "Square",
    "admix",
    "apgd_ce",
    "apgd_dlr",
    "apgd_t",
    "autoattack",
    "bsr",
    "cda",
    "create",
    "cw",
    "cwa",
    "ddn",
    "deepfool",
    "dim",
    "dim_ti",
    "fab_t",
    "fff",
    "fff_perturbation",
    "fgsm",
    "fgsm_ti",
    "fia",
    "fmn",
    "frozen",
    "fsa",
    "get",
    "ghost",
    "gra",
    "hopskipjump",
    "i_fgsm",
    "ila",
    "load_generator",
    "load_pattern",
    "logit",
    "mi_fgsm",
    "mi_fgsm_ti",
    "naa",
    "names",
    "nes",
    "ni_fgsm",
    "noise",
    "pgd",
    "pgn",
    "pi_fgsm",
    "r_fgsm",
    "random_targets",
    "register_attack",
    "sgm",
    "si_ni_fgsm",
    "sia",
    "simba",
    "square",
    "ssa",
    "ssp",
    "svre",
    "tap",
    "vmi_fgsm",
    "vni_fgsm",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name == "SspSettings":
        warnings.warn(
            "SspSettings is called SelfSupervisedPerturbation now", DeprecationWarning, stacklevel=2
        )
        name = "SelfSupervisedPerturbation"
    if name == "PRESETS":
        warnings.warn(
            "attacks.PRESETS is attacks.get('ssp').presets now", DeprecationWarning, stacklevel=2
        )
        return import_module(f"{__name__}.registry").get("ssp").presets
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # importing the file fgsm.py binds the name fgsm to that module; users mean the attack
        if isinstance(value, ModuleType) and name in _HOMES:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
