import json

import pytest

from nrpurify.cli.demo_run import ADAPTIVE, UNTRIED, _notes, run_demo
from nrpurify.data.demo import foolbox_photos
from nrpurify.data.labels import read_labeled_folder
from nrpurify.evaluation import DataSpec, EvaluationPlan
from nrpurify.evaluation.simple import simple_attack


@pytest.mark.usefixtures("offline")
def test_demo_writes_page_and_results(photos, purifier_file, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "nrpurify.cli.demo_run.imagenet_classes", lambda: [f"class{i}" for i in range(1000)]
    )
    monkeypatch.setattr(
        "nrpurify.models.victims.imagenet_classes",
        lambda: [f"class{i}" for i in range(1000)],
    )
    items, _ = read_labeled_folder(photos)
    plan = EvaluationPlan(
        DataSpec(size=32),
        ("a",),
        (simple_attack("ssp", 16 / 255, steps=2),),
        ("none", str(purifier_file)),
    )
    result = run_demo(tmp_path / "demo", plan=plan, items=items)
    assert json.loads((tmp_path / "demo" / "results.json").read_text())["mean"] == result["mean"]
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("photo") >= 6
    assert "class2" in page
    assert UNTRIED in page
    assert result["notes"][-1] == UNTRIED


def test_demo_tells_who_was_seen_in_training():
    row = {"clean": 0.9, "attacked": 0.5, "purified": 0.7}
    seen = {"clean": 0.1, "attacked": 0.1, "purified": 0.1}
    result = {
        "settings": {"seen_in_training": ["a", "vgg16"]},
        "victims": {"a": seen, "b": row, "c": row},
    }
    notes = _notes(result)
    assert notes[0] == ADAPTIVE
    assert notes[1] == (
        "Features of a took part in training the purifier. Mean without it: 90.0% clean, "
        "50.0% attacked, 70.0% purified."
    )


def test_twenty_photos():
    pytest.importorskip("foolbox")
    items = foolbox_photos()
    assert len(items) == 20
    assert all(0 <= item.label < 1000 for item in items)
