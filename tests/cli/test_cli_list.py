"""``nrpurify list``."""

import json

import pytest

from nrpurify import attacks, defenses, models
from nrpurify.attacks.spec import read_spec
from nrpurify.models.detectors import detector_names
from nrpurify.models.segmenters import SEGMENTERS
from nrpurify.purifiers import DESIGNS, shipped

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


def test_an_unknown_kind_names_the_known_ones(run):
    code, _, err = run("list", "victims!")
    assert code == 2
    assert "attacks" in err
