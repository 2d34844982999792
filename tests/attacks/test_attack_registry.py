import inspect
import re
from pathlib import Path

import pytest

from nrpurify.attacks import create, get, names
from nrpurify.core.errors import InputError

TEN = {"steps": 10, "step_size": None}
MOMENTUM = {**TEN, "momentum": 1.0}
TAP = {**TEN, "features": None, "feature_weight": 0.005, "power": 0.5, "smooth_weight": 0.01}
SSP = {"layer": "conv3_3", "distance": "mae", "start": "uniform", "steps": 100,
       "step_size": 0.01, "momentum": 0.0, "diversity": 0.0, "smoothing": 0}  # fmt: skip
KURAKIN = {"steps": 20, "step_size": 1 / 255}
PGD = {"steps": 10, "step_size": 2 / 255, "start": "uniform", "targeted": None}
FSA = {**TEN, "regularization": 0.01}
APGD = {"steps": 100, "restarts": 5, "early_stop": True, "momentum": 0.75, "rho": 0.75}
APGDT = {**APGD, "restarts": 1, "classes": 9}
FABT = {"steps": 100, "restarts": 1, "classes": 9, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
AUTO = {"version": "standard", "steps": 100, "queries": 5000}
SQUARE = {"steps": 5000, "restarts": 1, "early_stop": True, "p_init": 0.8}

PINNED = {
    "noise": ({"kind": "sign"}, {"kind": "sign"}),
    "fgsm": ({}, {}),
    "r-fgsm": ({"start_share": 1 / 3}, {"start_share": 1 / 6}),
    "i-fgsm": (TEN, {**TEN, **KURAKIN}),
    "pgd": (PGD, PGD),
    "mi-fgsm": (MOMENTUM, MOMENTUM),
    "dim": (
        {**MOMENTUM, "diversity": 0.7},
        {**MOMENTUM, **KURAKIN, "momentum": 0.0, "diversity": 0.5},
    ),
    "fgsm-ti": ({"smoothing": 15}, {"smoothing": 15}),
    "mi-fgsm-ti": ({**MOMENTUM, "smoothing": 15}, {**MOMENTUM, "smoothing": 15}),
    "dim-ti": (
        {**MOMENTUM, "diversity": 0.7, "smoothing": 15},
        {**MOMENTUM, "diversity": 0.4, "smoothing": 15},
    ),
    "tap": (TAP, TAP),
    "fff": ({}, {}),
    "cda": ({"smooth": False}, {"smooth": False}),
    "fsa": (FSA, {**FSA, "steps": 1}),
    "ssp": (SSP, {**SSP, "layer": "relu3_3", "distance": "mse", "start": "gaussian"}),
    "apgd-ce": (APGD, {**APGD, "restarts": 1}),
    "apgd-dlr": (APGD, {**APGD, "restarts": 1}),
    "square": (SQUARE, {**SQUARE, "steps": 10000, "p_init": 0.05}),
    "apgd-t": (APGDT, APGDT),
    "fab-t": (FABT, FABT),
    "autoattack": (AUTO, AUTO),
}
NEEDS = {"noise": "none", "fff": "none", "cda": "none", "ssp": "features"}
LABEL_FREE = {*NEEDS, "fsa"}


@pytest.mark.parametrize("name", PINNED)
def test_defaults_are_pinned(name):
    entry = get(name)
    assert entry.name == name
    assert (entry.defaults(), entry.defaults("authors")) == PINNED[name]
    assert list(entry.presets) == ["paper", "authors"]
    assert entry.surrogate == NEEDS.get(name, "classifier")
    assert entry.labels == (name not in LABEL_FREE)
    parameters = inspect.signature(entry.function).parameters
    assert parameters["eps"].default == 16 / 255
    assert parameters["preset"].default == "paper"
    assert parameters["amp"].default is False
    assert all(parameters[setting].default is None for setting in entry.settings)


def test_names_in_order():
    known = [name for name in names() if name in PINNED]
    assert known == list(PINNED)


def test_step_lengths_that_follow_from_eps():
    eps = 16 / 255
    for name, length in {
        "fgsm": 16,
        "r-fgsm": 32 / 3,
        "i-fgsm": 1.6,
        "dim-ti": 1.6,
        "pgd": 2,
    }.items():
        assert create(name).length(eps) == pytest.approx(length / 255)
    assert create("dim", preset="authors").length(eps) == pytest.approx(1 / 255)


@pytest.mark.parametrize(
    ("name", "near"), [("mifgsm", "mi-fgsm"), ("DIM", "dim"), ("dim_ti", "dim-ti"), ("spp", "ssp")]
)
def test_near_matches(name, near):
    with pytest.raises(InputError, match=rf"no attack '{name}'; did you mean .*\b{near}\b"):
        get(name)


def test_several_names_in_one_are_told():
    with pytest.raises(InputError, match="no attack 'ssp,cda'; these are 2 names; give each by"):
        get("ssp,cda")


def test_a_name_like_none_lists_all():
    with pytest.raises(InputError, match=r"noise, fgsm, r-fgsm"):
        get("xyzzy")


def test_an_unknown_preset():
    with pytest.raises(InputError, match=r"no preset 'papr'; expected one of paper, authors"):
        get("pgd").defaults("papr")


def test_the_page_names_every_attack_with_its_source():
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)$", page, re.MULTILINE)
    table = dict(reversed(rows))  # tables of measured numbers follow
    for name in PINNED:
        assert get(name).source.split(",")[0] in table[name]
