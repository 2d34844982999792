"""The paper's numbers beside ours: success rates of attacks only, and units."""

from dataclasses import replace

import pytest

from nrpurify.paper import Bench, get, run_experiment
from nrpurify.paper.compare import paper_entries, shown, side_by_side
from nrpurify.paper.experiment import Outcome
from nrpurify.results import Result, Run

CELL = Result("x", "ssp", "none", "none", "v", 0.75, interval=(0.5, 0.875), n=8)


def test_only_attacked_cells_are_turned_into_success_rates():
    attacked = replace(CELL, threat="oblivious transfer")
    assert shown(CELL, success=True) == "75.0 [50, 88] n=8"
    assert shown(attacked, success=True) == "25.0 [12, 50] n=8"
    assert shown(attacked, success=False) == "75.0 [50, 88] n=8"


@pytest.mark.parametrize("name", ["figure3", "figure4"])
def test_clean_cells_are_called_and_shown_as_accuracy(name, tmp_path):
    pytest.importorskip("matplotlib")
    result = run_experiment(name, Bench("smoke", tmp_path))
    (clean,) = (cell for cell in result.run["cells"] if cell["threat"] == "none")
    row = next(row for row in result.rows if row.column == "accuracy")
    assert row.row == "no attack"
    assert row.here.startswith(f"{100 * clean['value']:.1f} [")
    if name == "figure4":
        rates, _, accuracy = result.findings[0].here.partition("; accuracy without attack ")
        assert "no attack" not in rates.lower()
        assert accuracy == f"{100 * clean['value']:.1f} %"


@pytest.mark.slow
def test_table_3_says_that_its_clean_rows_are_accuracy(tmp_path):
    pytest.importorskip("pydantic")
    result = run_experiment("table3", Bench("smoke", tmp_path))
    rows = {row.row for row in result.rows if row.row.startswith("No attack")}
    assert rows == {"No attack, accuracy", "No attack, accuracy · NRP"}


def test_numbers_that_are_no_percentages_have_their_unit():
    experiment, outcome = get("appendix-table2"), Outcome(Run())
    papers = {(row.row, row.column): row.paper for row in side_by_side(experiment, outcome)}
    assert papers["Feature Denoising", "No. of GPUs"] == "128 GPUs"
    assert papers["NRP", "Training Time"] == "28 hours"
    assert {entry["unit"] for entry in paper_entries(experiment, outcome)} == {"GPUs", "hours"}
    table5 = paper_entries(get("table5"), outcome)
    assert {entry["unit"] for entry in table5} == {"%"}
