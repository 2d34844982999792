import json

import pytest

from nrpurify.demo import foolbox_photos, format_table, run_demo
from nrpurify.evaluation import Plan
from nrpurify.labels import read_labeled_folder


@pytest.mark.usefixtures("offline")
def test_demo_writes_page_and_results(photos, purifier_file, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "nrpurify.demo.imagenet_classes", lambda: [f"class{i}" for i in range(1000)]
    )
    items, _ = read_labeled_folder(photos)
    plan = Plan(victims=("a",), steps=2, purifier=purifier_file, size=32)
    result = run_demo(tmp_path / "demo", plan=plan, items=items)
    assert json.loads((tmp_path / "demo" / "results.json").read_text())["mean"] == result["mean"]
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("photo") >= 6
    assert "class2" in page


def test_twenty_photos():
    pytest.importorskip("foolbox")
    items = foolbox_photos()
    assert len(items) == 20
    assert all(0 <= item.label < 1000 for item in items)


def test_table_in_percent():
    row = {"clean": 0.85, "attacked": 0.1, "purified": 0.7, "purified_clean": 0.8}
    assert format_table({"victims": {"v": row}, "mean": row})[0] == [
        "v", "85.0", "10.0", "70.0", "80.0",
    ]  # fmt: skip
