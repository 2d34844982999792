import pytest

from nrpurify.core.errors import InputError
from nrpurify.report.paper_comparison import compare_with_paper

ATTACK = {"threat": "oblivious transfer", "eps": 16 / 255, "surrogate": "Inc-v3"}


def entry(row, column, value, **others):
    return {"where": "Table 1", "row": row, "column": column, "value": value, **others}


@pytest.fixture
def table(small):
    def make(*entries):
        cells = (
            {**ATTACK, "attack": "dim-ti", "defense": "fast", "value": 0.7},
            {**ATTACK, "attack": "dim-ti", "defense": "none", "value": 0.3},
            {**ATTACK, "attack": "dim", "defense": "fast", "value": 0.8, "victim": "w"},
        )
        (one,) = compare_with_paper(small(*cells, paper=list(entries)))
        return one

    return make


def test_names_are_found_among_the_cells(table):
    one = table(
        entry("Inc-v3 · fast", "DIM-TI", 11.0),
        entry("Inc-v3 · fast", "DIM", 5.1),
        entry("no defense", "DIM-TI", 90.0),
        entry("16 · w", "dim", 0.5),
        entry("HGD", "DIM-TI", 38.3),
    )
    assert one.columns == ("DIM-TI", "DIM", "dim")
    pair = one.rows["Inc-v3 · fast"]["DIM-TI"]
    assert (pair.paper, pair.here) == (pytest.approx(0.11), 0.7)
    assert one.rows["Inc-v3 · fast"]["DIM"].here == 0.8
    assert one.rows["no defense"]["DIM-TI"].here == 0.3
    assert one.rows["16 · w"]["dim"].here == 0.8
    assert one.rows["HGD"]["DIM-TI"].here is None


def test_cells_may_be_named_and_success_is_one_minus_value(table):
    one = table(entry("NRP", "x", 0.11, cells=["c000"], metric="success rate"))
    pair = one.rows["NRP"]["x"]
    assert (pair.paper, pair.here, pair.held) == (0.11, pytest.approx(0.3), pytest.approx(0.7))
    assert one.metrics == ("success rate",)


def test_different_metrics_are_not_averaged(small):
    cells = ({**ATTACK, "value": 0.5}, {**ATTACK, "value": 0.5, "metric": "mAP50"})
    (one,) = compare_with_paper(small(*cells, paper=[entry("ssp", "none", 0.4)]))
    assert one.rows["ssp"]["none"].here is None


def test_only_percentages_are_scaled_and_stand_in_columns(small):
    entries = (
        entry("NRP", "Training Time", 28, unit="hours", metric="time"),
        entry("NRP", "accuracy", 0.9, metric="accuracy"),
    )
    (one,) = compare_with_paper(small({**ATTACK, "value": 0.5}, paper=list(entries)))
    assert one.columns == one.metrics == ("accuracy",)
    assert one.rows["NRP"]["accuracy"].paper == 0.9
    assert one.rows["NRP · Training Time: 28 hours"] == {}


def test_incomplete_entries(small):
    run = small({"value": 0.5}, paper=[{"where": "Table 1", "row": "x"}])
    with pytest.raises(InputError, match="lacks column, value"):
        compare_with_paper(run)
    run = small({"value": 0.5}, paper=[entry("x", "y", "11.0")])
    with pytest.raises(InputError, match=r"the value '11\.0'; expected a number"):
        compare_with_paper(run)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), pytest.param(10**400, id="huge")])
def test_values_that_are_no_finite_number(small, value):
    with pytest.raises(InputError, match="expected a number"):
        compare_with_paper(small({"value": 0.5}, paper=[entry("x", "y", value)]))


@pytest.mark.parametrize("cells", [None, 3, "c000", [1]])
def test_cells_that_are_no_list_of_ids(small, cells):
    with pytest.raises(InputError, match="an entry of 'paper' has the cells"):
        compare_with_paper(small({"value": 0.5}, paper=[entry("x", "y", 0.5, cells=cells)]))


def test_a_wide_table_of_two_metrics_is_shown_in_two(small):
    def entries(metric, count):
        return [
            {"where": "Table 5", "row": "SSP", "column": f"{metric} {k}", "value": 5,
             "metric": metric}
            for k in range(count)
        ]  # fmt: skip

    wide = compare_with_paper(
        small({"value": 0.5}, paper=entries("top-1", 8) + entries("top-5", 8))
    )
    assert [(one.where, len(one.columns), one.metrics) for one in wide] == [
        ("Table 5", 8, ("top-1",)),
        ("Table 5", 8, ("top-5",)),
    ]
    assert (
        len(compare_with_paper(small({"value": 0.5}, paper=entries("a", 3) + entries("b", 3)))) == 1
    )
