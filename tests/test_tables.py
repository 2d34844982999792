"""From a run folder to committed JSON, and from there to a table."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from nrpurify.results import Result, Run

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
kept_results, tables = map(importlib.import_module, ("kept_results", "tables"))


def a_run(folder, rows, **more):
    """Rows of attack, defense, victim and right answers."""
    cells = []
    (folder / "cells").mkdir(parents=True)
    for attack, defense, victim, hits in rows:
        clean = attack == "clean"
        cell = Result(
            f"{attack}-{defense}-{victim}",
            attack,
            "none" if clean else "oblivious transfer",
            defense,
            victim,
            hits.count("1") / len(hits),
            surrogate=None if clean else "vgg16",
            eps=None if clean else 8 / 255,
            n=len(hits),
            settings={"in_mean": victim != "vgg16"},
        )
        cells.append(cell)
        (folder / "cells" / f"{cell.id}.json").write_text(json.dumps({"hits": hits}))
    run = Run(
        tuple(cells),
        title="a title",
        created="2026-11-30T01:02:03+00:00",
        images={"n": 4, "size": 32, "folder": "/somewhere/photos"},
        settings={"data": {"folder": "/somewhere/photos", "labels": ""}},
        versions={"nrpurify": "0.2.0", "torch": "2.14"},
        seed=0,
        precision="bf16",
        **more,
    )
    (folder / "run.json").write_text(json.dumps(run.to_dict()))
    return folder


ROWS = [
    ("clean", "none", "efficientnet_lite0", "1111"),
    ("clean", "none", "other", "1100"),
    ("clean", "fast", "efficientnet_lite0", "1110"),
    ("clean", "fast", "other", "1100"),
    ("ssp", "none", "efficientnet_lite0", "0000"),
    ("ssp", "none", "other", "1000"),
    ("ssp", "none", "vgg16", "0000"),
    ("ssp", "fast", "efficientnet_lite0", "1100"),
    ("ssp", "fast", "other", "1100"),
]


def test_a_run_keeps_what_decided_it_and_no_paths(tmp_path):
    kept = kept_results.trim([a_run(tmp_path / "a", ROWS)])
    assert kept["plan"] == {"data": {"folder": "photos"}}
    assert kept["images"] == {"n": 4, "size": 32, "rule": None}
    assert kept["precision"] == "bf16"
    assert kept["cells"][0]["hits"] == "1111"
    assert "somewhere" not in json.dumps(kept)


def test_a_table_has_means_of_victims_without_the_surrogate(tmp_path):
    table = tables.view(kept_results.trim([a_run(tmp_path / "a", ROWS)]))
    assert "| images | none | `fast` |" in table
    assert "| clean | **75.0** | 62.5 |" in table
    assert "| ssp 8, VGG16 | 12.5 | **50.0** |" in table
    assert "4 images of 32 pixels, bf16, seed 0, nrpurify 0.2.0" in table


def test_columns_of_victims_and_their_mean(tmp_path):
    kept = kept_results.trim([a_run(tmp_path / "a", ROWS)])
    table = tables.view(kept, columns="victim", defenses="none", mean="mean of both")
    assert "| images | Lite0 | other | mean of both |" in table
    assert "| ssp 8, VGG16 | 0.0 | 25.0 | 12.5 |" in table


def test_differences_are_paired(tmp_path):
    rows = [("clean", "none", "a", "1010" * 10), ("clean", "fast", "a", "1010" * 9 + "1011")]
    table = tables.view(kept_results.trim([a_run(tmp_path / "a", rows)]), gain="none")
    assert "| clean | 50.0 | **52.5** | 2.5 (0.0 to 7.5) |" in table


def test_runs_of_other_images_are_pooled(tmp_path):
    folders = [
        a_run(tmp_path / "a", [("clean", "none", "a", "11")]),
        a_run(tmp_path / "b", [("clean", "none", "a", "10")]),
    ]
    (cell,) = kept_results.trim(folders, pool=True)["cells"]
    assert (cell["value"], cell["n"], cell["hits"]) == (0.75, 4, "1110")
    with pytest.raises(ValueError, match=r"two results for clean none none a accuracy: .*--pool"):
        kept_results.trim(folders)


def test_runs_of_the_same_images_are_joined(tmp_path):
    folders = [
        a_run(tmp_path / "a", [("clean", "none", "a", "11")]),
        a_run(tmp_path / "b", [("clean", "none", "a", "11"), ("clean", "fast", "a", "10")]),
    ]
    assert len(kept_results.trim(folders)["cells"]) == 2


def test_what_is_written_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_results, "RESULTS", tmp_path)
    kept = kept_results.trim([a_run(tmp_path / "a", ROWS)])
    kept_results.write("name", kept)
    assert kept_results.load("name") == kept
    page = 'before\n<!-- table: name columns=victim mean="the mean" -->\n<!-- /table -->\nafter\n'
    filled = tables.fill(page)
    assert "| images | Lite0 | other | the mean |" in filled
    assert filled.startswith("before\n")
    assert filled.endswith("<!-- /table -->\nafter\n")
    assert tables.fill(filled) == filled


def test_values_of_a_table_keep_their_form():
    table = tables.static(
        {
            "columns": [{"name": "a"}, {"name": "b", "digits": 2, "unit": " ×"}, {"name": "c"}],
            "bold": [[0, 1]],
            "rows": [["one", 1.5, [-2.0, -3.25, 1.0]], [None, 2, [10, 20]]],
        }
    )
    assert table.splitlines()[2:] == [
        "| one | **1.50 ×** | −2.0 (−3.2 to 1.0) |",
        "|  | 2 × | 10 to 20 |",
    ]


def test_wrong_options_are_named(tmp_path):
    kept = kept_results.trim([a_run(tmp_path / "a", ROWS)])
    with pytest.raises(ValueError, match="no option"):
        tables.view(kept, colums="victim")
    with pytest.raises(ValueError, match="no result is left"):
        tables.view(kept, victims="nobody")


def test_certificates_become_a_column_each(tmp_path):
    summary = {
        "settings": {
            "victim": "efficientnet_lite0",
            "purifier": "/somewhere/denoise.safetensors",
            "sigma": 0.25,
            "n": 1000,
            "alpha": 0.001,
            "size": 224,
            "precision": "bf16",
        },
        "images": 2,
        "abstained": 1,
        "certified_accuracy": {"0": 0.5, "0.25": 0.5, "0.5": 0.0},
        "rows": [
            {"name": "a.png", "prediction": 3, "label": 3, "radius": 0.31234567},
            {"name": "b.png", "prediction": None, "label": 3, "radius": 0.0},
        ],
    }
    (tmp_path / "certify.json").write_text(json.dumps(summary))
    kept = kept_results.trim_certificates(tmp_path)
    assert kept["rows"] == [0.3123, 0]
    assert "somewhere" not in json.dumps(kept)
    table = tables.certificates([kept, kept])
    assert "| radius | denoise, σ 0.25 | denoise, σ 0.25 |" in table
    assert "| 0.25 | 50.0 | 50.0 |" in table
    assert "| 0.5 |" not in table
    assert "2 images of 224 pixels, 1,000 samples, α 0.001, 1 abstentions, bf16" in table


def test_a_measured_table_names_its_machine():
    about = {"processor": "a", "cores": 2, "nrpurify": "1", "torch": "2", "date": "2026-01-01"}
    content = {"title": "Load", "columns": [{"name": "x", "digits": 2}], "rows": [[0.5], [None]]}
    assert tables.static(content) == "| x |\n| --- |\n| 0.50 |\n|  |\n"
    shown = tables.static({**content, "environment": about})
    assert shown.endswith("\n\n*Load. a, 2 cores, nrpurify 1, torch 2, 2026-01-01.*\n")


def test_gradients_of_an_image_are_counted():
    plan = {"attacks": [{"name": "bsr", "surrogate": ["a", "b"], "settings": {"copies": 3}}]}
    cell = {"attack": "bsr", "steps": 10, "surrogate": "a,b"}
    assert tables.gradients(cell, plan) == "30"
    assert tables.gradients({**cell, "surrogate": "c"}, plan) == "200"
    assert tables.gradients({"attack": "mi-fgsm", "steps": 10}, plan) == "10"
    assert tables.gradients({"attack": "cwa", "steps": 10, "surrogate": "a,b"}, plan) == "40"
    assert tables.gradients({"attack": "clean"}, plan) == ""


def test_gradients_are_those_of_the_page_of_attacks():
    page = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    for name in tables.GRADIENTS:
        steps = tables.attacks.create(name).steps
        found = tables.gradients({"attack": name, "steps": steps}, {"attacks": []})
        shown = f"{found} K" if name == "svre" else "20 K" if name == "cwa" else found
        assert f"| `{name}` | {shown} |" in page, name
