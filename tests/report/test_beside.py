import pytest

from nrpurify.errors import InputError
from nrpurify.report.beside import beside

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
        (one,) = beside(small(*cells, paper=list(entries)))
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
    (one,) = beside(small(*cells, paper=[entry("ssp", "none", 0.4)]))
    assert one.rows["ssp"]["none"].here is None


def test_incomplete_entries(small):
    run = small({"value": 0.5}, paper=[{"where": "Table 1", "row": "x"}])
    with pytest.raises(InputError, match="lacks column, value"):
        beside(run)
    run = small({"value": 0.5}, paper=[entry("x", "y", "11.0")])
    with pytest.raises(InputError, match=r"the value '11\.0'; expected a number"):
        beside(run)
