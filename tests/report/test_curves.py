import re
from xml.etree import ElementTree

import pytest

from nrpurify.report.curves import plots
from nrpurify.report.svg import STYLES, draw, legend

KIND = ("classify", "accuracy")
ATTACK = {"threat": "oblivious transfer", "surrogate": "s", "steps": 10}


def test_success_against_eps_starts_at_clean(small):
    run = small(
        {"attack": "clean", "value": 0.9},
        {"attack": "clean", "value": 0.9, "defense": "other"},
        {**ATTACK, "eps": 8 / 255, "value": 0.5},
        {**ATTACK, "eps": 16 / 255, "value": 0.2},
        {**ATTACK, "eps": 16 / 255, "value": 0.9, "victim": "s"},
    )
    (plot,) = plots(run, KIND)
    assert plot.title == "ssp (oblivious transfer)"
    assert plot.up == "success rate"
    assert list(plot.series) == ["none"]
    xs, ys = zip(*plot.series["none"], strict=True)
    assert xs == pytest.approx((0, 8, 16))
    assert ys == pytest.approx((0.1, 0.5, 0.8))


def test_lengths_of_l2_stand_in_a_plot_of_their_own(small):
    l2 = {**ATTACK, "norm": "l2"}
    run = small(
        {**ATTACK, "eps": 8 / 255, "value": 0.5},
        {**ATTACK, "eps": 16 / 255, "value": 0.2},
        {**l2, "eps": 0.5, "value": 0.5},
        {**l2, "eps": 3.0, "value": 0.2},
    )
    found = {plot.across: [x for x, _ in plot.series["none"]] for plot in plots(run, KIND)}
    assert found == {"ε in 255ths": pytest.approx([8, 16]), "ℓ2 length": [0.5, 3]}


def test_success_against_iterations(small):
    run = small(
        {**ATTACK, "eps": 16 / 255, "value": 0.5},
        {**ATTACK, "eps": 16 / 255, "steps": 100, "value": 0.2},
        {**ATTACK, "eps": 16 / 255, "steps": 1000, "value": 0.2, "metric": "mAP50"},
    )
    (plot,) = plots(run, KIND)
    assert plot.across == "iterations"
    assert plot.detail == "ε 16/255"
    assert plot.series == {"none": ((10, 0.5), (100, 0.8))}


def test_other_metrics_are_plotted_as_they_are(small):
    two = [
        {**ATTACK, "eps": eps, "value": 0.4, "metric": "mAP50", "task": "detect"}
        for eps in (0.01, 0.02)
    ]
    (plot,) = plots(small(*two), ("detect", "mAP50"))
    assert plot.up == "mAP50"
    assert {y for _, y in plot.series["none"]} == {0.4}


def test_one_budget_makes_no_plot(small):
    assert plots(small({**ATTACK, "eps": 0.1, "value": 0.5}), KIND) == []


def test_the_drawing_is_well_formed_and_inside(run):
    defenses = ["none", "fast<&>", *sorted({c.defense for c in run.cells} - {"none"})]
    for plot in plots(run, KIND):
        svg = ElementTree.fromstring(draw(plot, defenses))
        width, height = map(int, svg.get("viewBox").split()[2:])
        assert len(svg.findall("g")) == len(plot.series)
        for path in svg.iterfind("g/path[@class='line']"):
            xs, ys = zip(*re.findall(r"([\d.]+),([\d.]+)", path.get("d")), strict=True)
            assert all(0 <= float(x) <= width for x in xs)
            assert all(0 <= float(y) <= height for y in ys)
        assert svg.find("g/path/title").text


def test_labels_of_x_keep_apart(small):
    many = [{**ATTACK, "eps": eps / 255, "value": 0.5} for eps in (1, 1.1, 1.2, 16)]
    (plot,) = plots(small(*many), KIND)
    svg = ElementTree.fromstring(draw(plot, ["none"]))
    labels = [t.text for t in svg.findall("text") if t.get("class") == "middle"]
    assert labels == ["1.2", "16", "success rate against ε in 255ths"]


def test_nine_defenses_look_different():
    samples = [sample for sample, _ in legend([str(i) for i in range(STYLES + 1)])]
    assert len(set(samples)) == STYLES + 1
    assert "dashed" in samples[-1]
