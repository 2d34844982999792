"""Reshaping the code changes no result: see ``record.py``."""

import importlib.util
import json
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("golden_record", Path(__file__).parent / "record.py")
record = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(record)
IMAGES = record.golden_attacks()
RUNS = json.loads(record.RUNS.read_text(encoding="utf-8"))


def test_every_attack_has_golden_images():
    assert {key.split("/")[0] for key in IMAGES} == set(record.attacks.names())


@pytest.mark.parametrize("key", IMAGES)
def test_attacks_give_the_recorded_images(key):
    """Signs of tiny gradients may flip between processors; all else is equal."""
    name, seed = key.split("/")
    change = (record.attacked(name, int(seed)) - IMAGES[key]).abs()
    assert (change > 1e-5).float().mean() < 0.01


LONGEST = pytest.param("table5", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [LONGEST if name == "table5" else name for name in RUNS])
def test_runs_give_the_recorded_cells(name, tmp_path):
    """One of a handful of images may fall on the other side on another processor."""
    found = record.cells(name, tmp_path)
    assert [row[:-1] for row in found] == [row[:-1] for row in RUNS[name]]
    apart = [
        (got, wanted)
        for got, wanted in zip(found, RUNS[name], strict=True)
        if got[-1] != pytest.approx(wanted[-1], abs=1e-3)
    ]
    assert len(apart) <= len(found) // 50, apart
