import json

import pytest

CELL = {"id": "a", "attack": "clean", "threat": "none", "defense": "none", "victim": "v"}


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"cells": [{**CELL, "value": 0.5}]}))
    return tmp_path


@pytest.mark.parametrize(
    ("args", "name"),
    [((), "report.html"), (("--format", "markdown"), "report.md")],
)
def test_report(run, run_folder, args, name):
    code, _, err = run("report", run_folder, *args)
    assert code == 0
    assert err == f"report: {run_folder / name}\n"
    assert "50" in (run_folder / name).read_text()


def test_report_into_a_file(run, run_folder):
    assert run("report", run_folder, "--out", run_folder / "t.tex", "--format", "latex")[0] == 0
    assert r"\toprule" in (run_folder / "t.tex").read_text()


def test_no_run(run, tmp_path):
    code, _, err = run("report", tmp_path)
    assert code == 2
    assert "give the folder of an evaluation" in err


def test_a_file_that_cannot_be_written_is_named_without_a_number(run, run_folder):
    (run_folder / "file").touch()
    code, _, err = run("report", run_folder, "--out", run_folder / "file" / "t.tex")
    assert code == 2
    assert err == f"nrpurify: error: {str(run_folder / 'file')!r}: File exists\n"
