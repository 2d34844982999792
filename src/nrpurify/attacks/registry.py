"""Attacks by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from nrpurify.attacks.apgd import PRESETS as APGD
from nrpurify.attacks.apgd import apgd_ce, apgd_dlr
from nrpurify.attacks.cda import PRESETS as CDA
from nrpurify.attacks.cda import cda
from nrpurify.attacks.dim import PRESETS as DIM
from nrpurify.attacks.dim import dim
from nrpurify.attacks.fff import PRESETS as FFF
from nrpurify.attacks.fff import fff
from nrpurify.attacks.fgsm import PRESETS as FGSM
from nrpurify.attacks.fgsm import fgsm
from nrpurify.attacks.fsa import PRESETS as FSA
from nrpurify.attacks.fsa import fsa
from nrpurify.attacks.ifgsm import PRESETS as I_FGSM
from nrpurify.attacks.ifgsm import i_fgsm
from nrpurify.attacks.mifgsm import PRESETS as MI_FGSM
from nrpurify.attacks.mifgsm import mi_fgsm
from nrpurify.attacks.noise import PRESETS as NOISE
from nrpurify.attacks.noise import noise
from nrpurify.attacks.pgd import PRESETS as PGD
from nrpurify.attacks.pgd import pgd
from nrpurify.attacks.rfgsm import PRESETS as R_FGSM
from nrpurify.attacks.rfgsm import r_fgsm
from nrpurify.attacks.square import PRESETS as SQUARE
from nrpurify.attacks.square import square
from nrpurify.attacks.ssp import PRESETS as SSP
from nrpurify.attacks.ssp import ssp
from nrpurify.attacks.tap import PRESETS as TAP
from nrpurify.attacks.tap import tap
from nrpurify.attacks.ti import DIM_TI, FGSM_TI, MI_FGSM_TI, dim_ti, fgsm_ti, mi_fgsm_ti
from nrpurify.core.errors import InputError


@dataclass(frozen=True)
class Entry:
    """An attack and what it needs.

    Attributes:
        name: As in :func:`get`.
        function: ``(model, images, labels=None, *, eps, preset, ...)``; ``model`` is a classifier,
            a feature extractor or anything, by ``surrogate``.
        presets: Settings by preset, dataclass instances.
        surrogate: What it attacks: a ``classifier``, ``features`` (an extractor), or ``none``;
            then ``model`` may be None, for which fff and cda take what the package carries.
        source: Who described it.
        label_free: Whether labels are ignored although it attacks a classifier.
    """

    name: str
    function: Callable[..., Tensor]
    presets: Mapping[str, Any]
    surrogate: Literal["classifier", "features", "none"]
    source: str
    label_free: bool = False

    @property
    def labels(self) -> bool:
        """Whether it uses labels (without any, what the surrogate says of the clean images)."""
        return self.surrogate == "classifier" and not self.label_free

    @property
    def settings(self) -> tuple[str, ...]:
        """The keyword arguments of its function, ``eps`` and ``preset`` among them."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def defaults(self, preset: str = "paper") -> dict[str, Any]:
        """The settings of a preset.

        Raises:
            InputError: No such preset.
        """
        if preset not in self.presets:
            raise InputError(f"no preset {preset!r}; expected one of {', '.join(self.presets)}")
        return asdict(self.presets[preset])

    def in_force(self, preset: str = "paper") -> dict[str, Any]:
        """The settings of a preset that decide an attack, without those of its making before.

        Raises:
            InputError: No such preset.
        """
        found = self.defaults(preset)
        if self.surrogate != "none":
            return found
        return {name: value for name, value in found.items() if name in self.settings}


_ENTRIES = (
    Entry("noise", noise, NOISE, "none", "control"),
    Entry("fgsm", fgsm, FGSM, "classifier", "Goodfellow et al., 2015"),
    Entry("r-fgsm", r_fgsm, R_FGSM, "classifier", "Tramèr et al., 2018"),
    Entry("i-fgsm", i_fgsm, I_FGSM, "classifier", "Kurakin et al., 2017"),
    Entry("pgd", pgd, PGD, "classifier", "Madry et al., 2018"),
    Entry("mi-fgsm", mi_fgsm, MI_FGSM, "classifier", "Dong et al., 2018"),
    Entry("dim", dim, DIM, "classifier", "Xie et al., 2019"),
    Entry("fgsm-ti", fgsm_ti, FGSM_TI, "classifier", "Dong et al., 2019"),
    Entry("mi-fgsm-ti", mi_fgsm_ti, MI_FGSM_TI, "classifier", "Dong et al., 2019"),
    Entry("dim-ti", dim_ti, DIM_TI, "classifier", "Dong et al., 2019"),
    Entry("tap", tap, TAP, "classifier", "Zhou et al., 2018"),
    Entry("fff", fff, FFF, "none", "Mopuri et al., 2017"),
    Entry("cda", cda, CDA, "none", "Naseer et al., 2019"),
    Entry("fsa", fsa, FSA, "classifier", "Zhang & Wang, 2019", label_free=True),
    Entry("ssp", ssp, SSP, "features", "Naseer et al., 2020"),
    Entry("apgd-ce", apgd_ce, APGD, "classifier", "Croce & Hein, 2020"),
    Entry("apgd-dlr", apgd_dlr, APGD, "classifier", "Croce & Hein, 2020"),
    Entry("square", square, SQUARE, "classifier", "Andriushchenko et al., 2020"),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def names() -> list[str]:
    """All names: in the order of the paper's tables, then those for judging a defense."""
    return list(_BY_NAME)


def get(name: str) -> Entry:
    """Look an attack up.

    Raises:
        InputError: No such attack; near matches are named.
    """
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, cutoff=0.4) or list(_BY_NAME)
        raise InputError(f"no attack {name!r}; did you mean {', '.join(near)}?")
    return _BY_NAME[name]
