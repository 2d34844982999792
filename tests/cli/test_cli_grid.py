import json
import subprocess
import sys
from pathlib import Path

import pytest

from nrpurify.results import Result, Run

CELL = Result(
    "ssp-1", "ssp", "oblivious transfer", "fast", "v", 0.705,
    surrogate="vgg16", eps=16 / 255, steps=30, settings={"in_mean": True},
)  # fmt: skip
RUN = Run((CELL,))


@pytest.fixture
def runs(monkeypatch):
    """Calls of the grid, each (recipe, out, other arguments)."""
    calls = []

    def run_plan(recipe, out, *, progress, **others):
        progress.update("ssp", 1, 2)
        progress.finished(CELL, 1, 1, kept=False)
        progress.warned({"kind": "one draw", "text": "judged on one draw", "cells": []})
        calls.append((recipe, out, others))
        return RUN

    monkeypatch.setattr("nrpurify.evaluation.run", run_plan)
    monkeypatch.setattr("nrpurify.data.demo.foolbox_photos", lambda: list(range(30)))
    return calls


def test_a_table_of_means_and_the_warnings(run, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run("grid", "quick", "--out", tmp_path, "--device", "cpu")
    assert code == 0
    assert "70.5" in out
    assert "ssp, 30 steps" in out
    assert "warning, one draw: judged on one draw" in err
    recipe, folder, others = runs[0]
    assert (recipe.name, folder) == ("quick", tmp_path)
    wanted = {"items": list(range(20)), "resume": False, "device": "cpu", "shared": False}
    assert others == wanted


def test_options_change_the_recipe(run, runs, tmp_path):
    args = ("--images", "photos", "--labels", "x.csv", "--limit", 3, "--seed", 7, "--resume")
    code, out, _ = run("grid", "quick", "--out", tmp_path, *args, "--json")
    assert code == 0
    assert json.loads(out) == RUN.to_dict()
    recipe, _, others = runs[0]
    assert (recipe.data.folder, recipe.data.labels) == ("photos", "x.csv")
    assert (recipe.data.limit, recipe.seed) == (3, 7)
    assert others["items"] is None
    assert others["resume"]


def test_files_of_trained_attacks(run, runs, tmp_path):
    (tmp_path / "r.yaml").write_text("attacks: [{name: cda}, {name: noise}]\nvictims: [b]\n")
    file = tmp_path / "mine.safetensors"
    file.touch()
    given = ("grid", tmp_path / "r.yaml", "--out", tmp_path / "o", "--device", "cpu", "--trained")
    assert run(*given, f"cda={file}")[0] == 0
    assert [attack.trained for attack in runs[0][0].attacks] == [str(file), ""]
    code, _, err = run(*given, f"fff={file}")
    assert code == 2
    assert "--trained names fff; no attack of the plan can take it" in err


def test_errors_name_file_and_line(run, tmp_path):
    path = Path(tmp_path) / "r.yaml"
    path.write_text("victims: [a]\nattacks:\n  - name: ssp\n    eps: 16\n")
    code, _, err = run("grid", path, "--out", tmp_path / "out")
    assert code == 2
    assert "line 4, attacks.0.eps.0: 16 given" in err
    assert "write 16/255" in err
    code, _, err = run("grid", "quik", "--out", tmp_path / "out")
    assert code == 2
    assert "no plan 'quik'; expected a YAML file or one of demo" in err


def test_help_has_examples_and_imports_no_torch():
    code = (
        "import sys; from nrpurify.cli import main; main(['grid', '--help']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nrpurify grid quick" in done.stdout


def test_evaluate_with_a_plan_is_grid(run, runs, tmp_path):
    assert run("grid", "quick", "--out", tmp_path, "--seed", 3, "--device", "cpu")[0] == 0
    args = ("--plan", "quick", "--out", tmp_path, "--seed", 3, "--device", "cpu")
    assert run("evaluate", *args)[0] == 0
    assert runs[0] == runs[1]
    assert run("evaluate", "photos", *args)[0] == 0
    assert runs[2][0].data.folder == "photos"
    assert (runs[2][0].seed, runs[2][2]["items"]) == (3, None)
