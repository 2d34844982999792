"""The catalogue: every table and figure, with the paper's own numbers."""

from importlib import import_module

import pytest

from nrpurify.core.errors import InputError
from nrpurify.paper import SCALES, get, names
from nrpurify.paper.scenes import DETECTORS
from nrpurify.paper.spaces import APPENDIX_ONE
from nrpurify.paper.substitutes import FULL

EXPECTED = [
    *(f"table{k}" for k in range(1, 6)),
    *(f"figure{k}" for k in range(3, 9)),
    *(f"appendix-table{k}" for k in range(1, 8)),
    *(f"appendix-figure{k}" for k in range(1, 11)),
]


def test_the_catalogue_is_complete_and_in_order():
    assert list(names()) == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_each_says_what_was_measured_and_what_is_measured_here(name):
    experiment = get(name)
    assert experiment.measured
    assert experiment.title
    assert set(experiment.instead) == set(SCALES) == set(experiment.cost)
    assert experiment.quoted or experiment.claims
    places = [(quoted.row, quoted.column) for quoted in experiment.quoted]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("name", "row", "column", "value"),
    [
        ("table1", "Ensemble · NRP", "DIM-TI", 31.9),
        ("table1", "Ensemble · HGD", "DIM-TI", 82.6),
        ("table1", "Inc-v4 · SR", "MI-FGSM-TI", 42.3),
        ("table2", "Classification · No Defense", "ImageNet ε 16", 30.9),
        ("table2", "Detection · NRP", "Paintings ε 16", 54.3),
        ("table2", "Segmentation · MF (win=3)", "Comics ε 8", 36.0),
        ("table3", "UNet ⊕ Res-152 · DIM-TI ⊕ BPDA · NRP", "IncRes-v2-ens", 18.8),
        ("table4", "Object Det. · RetinaNet", "SSP ε 16", 5.16),
        ("table5", "VGG16 · SSP", "Inc-v3 T-1", 5.3),
        ("table5", "VGG16 · SSP", "IncRes-v2-ens T-5", 75.0),
        ("table5", "Res-152 · DIM", "VGG-19 T-5", 56.3),
        ("appendix-table1", "NRP", "Adversarial ε 16/255", 63.0),
        ("appendix-table2", "NRP", "Training Time", 28),
        ("appendix-table3", "FSA", "Adv-v3", 72.2),
        ("appendix-table4", "SSP", "ε 16", 9.7),
        ("appendix-table5", "no attack", "VGG-19 T-5", 96.7),
        ("appendix-table6", "TVM (w=10)", "SSP ε 8", 59.52),
        ("appendix-table7", "JPEG (q=75)", "SSP ε 16", 4.7),
    ],
)
def test_numbers_are_the_papers(name, row, column, value):
    found = {(quoted.row, quoted.column): quoted.value for quoted in get(name).quoted}
    assert found[row, column] == value


def test_tables_have_as_many_numbers_as_the_paper_prints():
    counts = {name: len(get(name).quoted) for name in names()}
    assert counts["table1"] == 5 * 8 * 6
    assert counts["table2"] == 3 * 8 * 7
    assert counts["table3"] == 3 * 6
    assert counts["table4"] == 4 * 3
    assert counts["table5"] == (14 * 8 - 2) + 12 * 8
    assert counts["appendix-table6"] == counts["appendix-table7"] == 7 * 3


def test_an_unknown_name_is_refused_with_near_matches():
    with pytest.raises(InputError, match=r"did you mean .*table1"):
        get("tabel1")
    with pytest.raises(InputError, match="appendix-figure10"):
        get("???")


def test_torchvisions_networks_of_the_scale_full_have_their_first_weights():
    vision = pytest.importorskip("torchvision.models")
    used = [*FULL.values(), *(name for name, _ in APPENDIX_ONE.by_scale["full"])]
    used += [by_scale["full"] for by_scale in DETECTORS.values()]
    used = [str(name).split(":")[1] for name in used if str(name).startswith("torchvision:")]
    assert len(used) >= 6
    for name in used:
        model, _, entry = name.partition(".")
        entries = vision.get_model_weights(model)
        weights = entries[entry] if entry else entries.DEFAULT
        assert weights.name in ("IMAGENET1K_V1", "COCO_V1")


@pytest.mark.parametrize("name", names())
def test_each_names_a_module_that_runs_it(name):
    assert callable(import_module(f"nrpurify.paper.{get(name).work}").work)
