"""``nrpurify list``."""

import json
import sys
from pathlib import Path

import pytest

from nrpurify import attacks, defenses, models
from nrpurify.attacks.registry import ATTACKS
from nrpurify.attacks.spec import read_spec
from nrpurify.defenses.registry import DEFENSES
from nrpurify.evaluation.metrics import METRICS
from nrpurify.evaluation.tasks import TASKS
from nrpurify.models.detectors import detector_names
from nrpurify.models.registry import VICTIMS
from nrpurify.models.segmenters import SEGMENTERS
from nrpurify.purifiers import DESIGNS, shipped
from nrpurify.purifiers.registry import PURIFIERS

NAMES = {
    "attacks": attacks.names(),
    "defenses": defenses.names(),
    "purifiers": [*DESIGNS, *shipped()],
    "victims": models.names(),
    "detectors": detector_names(),
    "segmenters": SEGMENTERS.names(),
    "tasks": ["classify", "detect", "instances", "segment"],
    "metrics": ["accuracy", "conditional-success", "mAP", "mIoU", "pixel-accuracy", "top5"],
}


@pytest.mark.parametrize("kind", NAMES)
def test_all_names_are_listed_with_their_sources(run, monkeypatch, kind):
    monkeypatch.setenv("COLUMNS", "80")
    code, text, _ = run("list", kind)
    assert code == 0
    assert all(name in text for name in NAMES[kind])
    assert max(map(len, text.splitlines())) <= 80
    rows = json.loads(run("list", kind, "--json")[1])
    assert {row["name"] for row in rows} >= set(NAMES[kind])
    assert all(row["source"] for row in rows)


def test_settings_are_shown_as_specs_take_them(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = run("list", "attacks")[1]
    assert "early_stop=true" in text
    for row in json.loads(run("list", "attacks", "--json")[1]):
        for name, value in row["settings"].items():
            if value is not None:
                text = str(value).lower() if isinstance(value, bool) else value
                assert read_spec(f"{row['name']}:{name}={text}")[1] == {name: value}


COMMON = dict.fromkeys(("mean", "std", "size", "checkpoint"))
SETTINGS = {
    "victims": {
        "squeezenet1_1": {"pretrained": True, **COMMON},
        "timm:NAME": {"pretrained": True, "num_classes": 0, **COMMON},
        "torchvision:NAME": {"pretrained": True, "weights": "", "num_classes": 0, **COMMON},
        "FILE.onnx": {"bgr": False, "output": "", **COMMON},
        "FILE.py:FUNCTION": COMMON,
    },
    "detectors": {
        "coco_ssd": {"pretrained": True, "min_score": 0.01, "max_iou": 0.5, "max_detections": 100},
        "torchvision:NAME": {"pretrained": True},
        "FILE.py:FUNCTION": {},
    },
    "segmenters": {"u2netp": {"pretrained": True}, "torchvision:NAME": {"pretrained": True}},
    "purifiers": {
        "nrp": {"width": 64, "blocks": 23, "growth": 32},
        "denoise-025": {"widths": [64, 96, 160], "blocks": [1, 2, 2], "factor": 4},
    },
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_are_the_parameters_of_what_makes_an_entry(run, monkeypatch, kind):
    monkeypatch.setenv("COLUMNS", "200")
    rows = {row["name"]: row["settings"] for row in json.loads(run("list", kind, "--json")[1])}
    assert {name: rows[name] for name in SETTINGS[kind]} == SETTINGS[kind]
    assert ("FILE.onnx" in rows) == (kind == "victims")  # detectors and segmenters take none
    text = run("list", kind)[1]
    assert all(name in text for settings in rows.values() for name in settings)


def test_plugins_of_a_file_are_listed(run, no_plugins):
    before = set(sys.modules)
    file = Path(__file__).parents[1] / "plugins" / "example" / "nrpurify_example.py"
    entries = {
        "attacks": (ATTACKS, "one-color"),
        "defenses": (DEFENSES, "posterize"),
        "victims": (VICTIMS, "brightest-channel"),
        "purifiers": (PURIFIERS, "two-convolutions"),
        "tasks": (TASKS, "retrieve"),
        "metrics": (METRICS, "recall"),
    }
    try:
        for kind, (_, name) in entries.items():
            code, text, err = run("list", kind, "--plugin", file, "--json")
            assert code == 0, err
            (row,) = [row for row in json.loads(text) if row["name"] == name]
            assert "distilled head" not in row["source"]
            assert ("checkpoint" in row["settings"]) == (kind == "victims")
    finally:
        for registry, name in entries.values():
            registry.forget(name)
        for name in set(sys.modules) - before:
            if "nrpurify_example" in name:
                del sys.modules[name]


def test_an_unknown_kind_names_the_known_ones(run):
    code, _, err = run("list", "victims!")
    assert code == 2
    assert "attacks" in err
