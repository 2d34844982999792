import pytest

from nrpurify.evaluation import compact_table
from nrpurify.report.breakdown import breakdowns
from nrpurify.report.markdown import render_markdown
from nrpurify.report.matrix import matrix
from nrpurify.report.summary import sentence

KIND = ("classify", "accuracy")
OBLIVIOUS = {"threat": "oblivious transfer", "eps": 16 / 255, "steps": 10, "surrogate": "s"}
FULL = {**OBLIVIOUS, "threat": "full gradient", "attack": "pgd", "surrogate": "v"}


def values(row):
    return {defense: one.value for defense, one in row.means.items()}


def test_order_of_groups_and_columns(run):
    made = matrix(run, KIND)
    assert made.budget == (16 / 255, "linf")
    assert made.defenses[:2] == ("none", "fast")
    titles = [group.title for group in made.groups]
    assert titles == [
        "Clean images",
        "Oblivious transfer",
        "BPDA",
        "Full gradient",
        "EOT",
        "Score-based",
        "Oblivious transfer, attack by attack",
    ]
    assert [row.label for row in made.groups[-1].rows] == ["ssp", "mi-fgsm", "dim-ti", "noise"]
    assert made.groups[1].rows[0].label == "mean of 3 attacks"


def test_the_surrogate_is_no_victim_of_its_own_transfer(small):
    run = small(
        {**OBLIVIOUS, "victim": "s", "value": 0.0},
        {**OBLIVIOUS, "victim": "a", "value": 0.4},
        {**OBLIVIOUS, "victim": "b", "value": 0.8},
        {**OBLIVIOUS, "victim": "b", "value": 0.0, "surrogate": "x,timm:b"},
        {**FULL, "victim": "s", "surrogate": "s", "value": 0.2},
    )
    oblivious, full = matrix(run, KIND).groups
    assert values(oblivious.rows[0]) == {"none": pytest.approx(0.6)}
    assert values(full.rows[0]) == {"none": 0.2}
    assert full.rows[0].detail == "10 steps, on s"
    assert oblivious.rows[0].detail == "10 steps, 2 victims"


def test_the_strongest_attack_stands_for_all(small):
    run = small(
        {**FULL, "value": 0.6, "steps": 10},
        {**FULL, "value": 0.2, "steps": 100, "rounding": "float"},
        {**FULL, "value": 0.3, "steps": 100, "seed": 0},
        {**FULL, "value": 0.5, "steps": 100, "seed": 1},
        {**FULL, "threat": "EOT", "value": 0.4, "draws": 5},
        {**FULL, "threat": "EOT", "value": 0.1, "draws": 30},
    )
    full, eot = (group.rows[0] for group in matrix(run, KIND).groups)
    assert values(full) == {"none": pytest.approx(0.4)}
    assert full.detail == "100 steps"
    assert values(eot) == {"none": 0.1}
    assert eot.detail == "10 steps, 30 draws"


def test_rows_at_another_budget_say_so(small):
    run = small(
        {**OBLIVIOUS, "value": 0.5},
        {**OBLIVIOUS, "value": 0.6, "defense": "fast"},
        {**OBLIVIOUS, "value": 0.9, "eps": 8 / 255},
        {**FULL, "value": 0.1, "eps": 4 / 255},
    )
    made = matrix(run, KIND)
    assert made.budget == (16 / 255, "linf")
    assert values(made.groups[0].rows[0]) == {"none": 0.5, "fast": 0.6}
    assert made.groups[1].rows[0].detail == "ε 4/255, 10 steps"


def test_clean_images_only(small):
    made = matrix(small({"attack": "clean", "value": 0.7}), KIND)
    assert made.budget is None
    assert made.oblivious is None
    assert sentence(made) == "No defense was measured: accuracy on clean images is 70%."


def test_unknown_threats_come_last(small):
    run = small({**FULL, "threat": "new", "value": 0.5}, {**FULL, "value": 0.4})
    assert [group.title for group in matrix(run, KIND).groups] == ["Full gradient", "new"]


def test_sentence(run):
    assert sentence(matrix(run, KIND)).startswith(
        "Against oblivious attacks (mean of 3 attacks, ε = 16/255) fast keeps the most accuracy, "
    )
    assert "; an attack with its full gradient leaves 4% (EOT: 2%)." in sentence(matrix(run, KIND))


def test_sentence_without_an_adaptive_attack(small):
    run = small({**OBLIVIOUS, "value": 0.2}, {**OBLIVIOUS, "value": 0.6, "defense": "fast"})
    assert sentence(matrix(run, KIND)) == (
        "Against oblivious attacks (ssp, ε = 16/255) fast keeps the most accuracy, 60%, where no "
        "defense leaves 20%. No full-gradient attack on it was measured, so an attacker who "
        "knows the defense may leave less."
    )


def test_sentence_when_several_are_the_best_and_nothing_helps(small):
    defenses = [{**OBLIVIOUS, "value": 0.5, "defense": name} for name in ("jpeg", "fast")]
    run = small({**OBLIVIOUS, "value": 0.6}, *defenses)
    assert "the best, jpeg and fast, have 50% accuracy" in sentence(matrix(run, KIND))


def test_sentence_when_nothing_helps(small):
    run = small({**OBLIVIOUS, "value": 0.6}, {**OBLIVIOUS, "value": 0.5, "defense": "jpeg"})
    assert "no defense helps: the best, jpeg, has 50% accuracy where none at all has 60%" in (
        sentence(matrix(run, KIND))
    )


def test_sentence_of_a_full_gradient_run(small):
    run = small({**FULL, "value": 0.02, "defense": "fast"}, {**FULL, "value": 0.0})
    assert sentence(matrix(run, KIND)).endswith(
        "Of full gradient attacks fast keeps the most accuracy, 2%."
    )


def test_a_defense_with_fewer_attacks_is_not_called_best(small):
    run = small(
        {**OBLIVIOUS, "value": 0.9, "defense": "half"},
        {**OBLIVIOUS, "value": 0.5, "defense": "whole"},
        {**OBLIVIOUS, "value": 0.4, "defense": "whole", "attack": "dim"},
    )
    made = matrix(run, KIND)
    assert made.oblivious.of == 2
    assert made.oblivious.means["half"].of == 1
    assert "whole keeps the most" in sentence(made)


def test_a_mean_of_attacks_is_one_of_equal_budgets(small):
    run = small(
        {**OBLIVIOUS, "value": 0.2},
        {**OBLIVIOUS, "value": 0.4, "attack": "fsa"},
        {**OBLIVIOUS, "value": 0.9, "attack": "dim", "eps": 2 / 255},
    )
    mean = matrix(run, KIND).oblivious
    assert (mean.label, mean.detail) == ("mean of 2 attacks", "those of one budget below")
    assert values(mean) == {"none": pytest.approx(0.3)}


@pytest.mark.parametrize(
    ("setting", "weak", "strong", "told"),
    [
        ("step_size", 0.001, 0.0078431, ("step size 0.001", "step size 0.00784")),
        ("bpda", False, True, ("bpda no", "bpda yes")),
        ("start", "clean", "uniform", ("start clean", "start uniform")),
    ],
)
def test_a_weak_attack_is_not_averaged_with_a_strong_one(small, setting, weak, strong, told):
    shared = {"attack": "pgd", "threat": "EOT", "eps": 4 / 255, "steps": 9}
    run = small(
        {**shared, "value": 0.9, "settings": {setting: weak}},
        {**shared, "value": 0.1, "settings": {setting: strong}},
    )
    _, table = compact_table(run.raw)
    assert [row[0] for row in table] == [f"pgd, {text}, 9 steps" for text in told]
    assert matrix(run, run.kinds()[0]).least("EOT")["none"].value == 0.1


def test_attacks_of_one_name_with_other_settings_are_rows_of_their_own(small):
    shared = {"threat": "oblivious transfer", "eps": 16 / 255, "surrogate": "vgg16", "steps": 9}
    layers = {"conv1_2": 0.9, "conv3_3": 0.1}
    run = small(
        *({**shared, "value": v, "settings": {"layers": [k]}} for k, v in layers.items()),
        {**shared, "attack": "fsa", "value": 0.5, "settings": {"layers": ["conv3_3"]}},
    )
    rows = {
        row.label: row.means["none"].value for row in matrix(run, run.kinds()[0]).groups[-1].rows
    }
    assert rows == {"ssp, layers conv1_2": 0.9, "ssp, layers conv3_3": 0.1, "fsa": 0.5}
    assert {one.attack for one in breakdowns(run, run.kinds()[0])} == rows.keys()
    _, table = compact_table(run.raw)
    assert [row[0] for row in table] == [f"{name}, 9 steps" for name in rows]


def test_a_failed_white_box_attack_makes_no_defense_the_best(small):
    cells = (
        {**FULL, "value": 0.9, "defense": "jpeg"},
        {**FULL, "value": 0.2, "defense": "fast"},
        {**FULL, "value": 0.1, "defense": "median"},
        {**OBLIVIOUS, "value": 0.5, "defense": "jpeg"},
    )
    warning = {"kind": "no gradient", "text": "zeros", "cells": ["c000", "c003"]}
    run = small(*cells, warnings=[{"kind": "one draw", "cells": None}, warning])
    assert [cell.misjudged for cell in run.cells] == [True, False, False, False]
    assert run.cells[0].warned == (1,)
    oblivious, full = matrix(run, KIND).groups
    assert [d for d in ("jpeg", "fast", "median") if full.rows[0].is_best(d)] == ["fast"]
    assert not oblivious.rows[0].means["jpeg"].misjudged
    assert "leaves 90%, an upper bound only: the attack failed" in sentence(matrix(run, KIND))


def test_a_share_of_no_image_is_in_no_mean(small):
    share = {**OBLIVIOUS, "metric": "conditional-success"}
    nothing = {**share, "victim": "w", "value": 0.0, "n": 0}
    kind = ("classify", "conditional-success")
    run = small({**share, "value": 0.8}, nothing)
    assert values(matrix(run, kind).groups[0].rows[0]) == {"none": 0.8}
    [line] = breakdowns(run, kind)[0].lines
    assert (line.victims.keys(), line.mean.value) == ({"v"}, 0.8)
    assert compact_table(run.raw, kind[1])[1][0][-1] == "80.0"
    empty = small(nothing)
    assert compact_table(empty.raw, kind[1])[1][0][-1] == "–"
    assert render_markdown(empty)


def test_sentence_of_attacks_without_a_defense(small):
    run = small(
        {"attack": "clean", "value": 0.9},
        {**OBLIVIOUS, "value": 0.4},
        {**OBLIVIOUS, "value": 0.2, "attack": "dim"},
    )
    assert sentence(matrix(run, KIND)) == (
        "Oblivious attacks (mean of 2 attacks, ε = 16/255) leave 30% accuracy where clean images "
        "have 90%; the strongest attack, dim, leaves 20%."
    )


def test_sentence_names_both_of_a_tie(small):
    attacked = ({**OBLIVIOUS, "value": 0.6, "defense": name} for name in ("fast", "jpeg"))
    run = small({**OBLIVIOUS, "value": 0.2}, *attacked)
    assert "fast and jpeg keep the most accuracy, 60%" in sentence(matrix(run, KIND))


def test_budgets_of_both_norms_are_kept_apart(small):
    l2 = {**OBLIVIOUS, "eps": 0.5, "norm": "l2"}
    run = small(
        {**OBLIVIOUS, "eps": 0.5, "value": 0.2},
        {**l2, "value": 0.4},
        {**l2, "value": 0.6, "attack": "dim"},
    )
    made = matrix(run, KIND)
    assert made.budget == (0.5, "l2")
    rows = made.groups[-1].rows
    assert [(row.label, row.detail) for row in rows] == [("ssp", "10 steps"), ("dim", "10 steps")]
    assert "(mean of 2 attacks, ε = ℓ2 0.5) leave 50%" in sentence(made)
    assert [one.detail.partition(", made")[0] for one in breakdowns(run, KIND)] == [
        "ε 128/255, 10 steps",
        "ε ℓ2 0.5, 10 steps",
        "ε ℓ2 0.5, 10 steps",
    ]
    assert run.cells[1].place == "ssp ℓ2 0.5 on v, no defense"


def test_the_best_defense_leaves_the_fewest_successes(small):
    shared = {"metric": "targeted-success", "eps": 16 / 255}
    values = {"none": 0.8, "jpeg": 0.6, "fast": 0.1}
    run = small(
        *({**OBLIVIOUS, **shared, "value": v, "defense": d} for d, v in values.items()),
        {**FULL, **shared, "value": 0.7, "defense": "fast"},
        {**FULL, **shared, "value": 0.9, "defense": "fast", "attack": "apgd"},
    )
    made = matrix(run, ("classify", "targeted-success"))
    assert made.defenses == ("none", "fast", "jpeg")
    assert [d for d in values if made.oblivious.is_best(d)] == ["fast"]
    assert made.least("full gradient")["fast"].value == 0.9
    assert sentence(made) == (
        "Against oblivious attacks (ssp, ε = 16/255) fast has the least targeted-success, 10%, "
        "where none at all has 80%; an attack with its full gradient reaches 90%."
    )
    bare = small(
        {**OBLIVIOUS, **shared, "value": 0.2}, {**OBLIVIOUS, **shared, "value": 0.4, "attack": "x"}
    )
    assert sentence(matrix(bare, ("classify", "targeted-success"))) == (
        "Oblivious attacks (mean of 2 attacks, ε = 16/255) reach 30% targeted-success; the "
        "strongest attack, x, reaches 40%."
    )
