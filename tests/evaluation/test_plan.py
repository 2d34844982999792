import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nrpurify import attacks
from nrpurify.core.config import to_yaml
from nrpurify.core.errors import InputError
from nrpurify.evaluation import (
    DataSpec,
    EvaluationPlan,
    PlannedAttack,
    RecipeError,
    plan_from_dict,
    read_plan,
)
from nrpurify.evaluation.plan_checks import check_plan, distance, is_score_based
from nrpurify.evaluation.plan_parser import shipped_plans

GOOD = """\
title: A title
images:
  folder: photos
attacks:
  - name: fgsm
    surrogate: a
    eps: [8/255, 0.1]
  - name: square
    steps: 5
victims: [b]
"""


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def read_and_check(path):
    recipe, marks = read_plan(path)
    with marks.naming_lines():
        check_plan(recipe)


def refusal(tmp_path, text):
    with pytest.raises(InputError) as caught:
        read_and_check(write(tmp_path, text))
    return str(caught.value)


def test_a_recipe_is_read_and_single_values_become_lists(tmp_path):
    recipe, marks = read_plan(write(tmp_path, GOOD))
    check_plan(recipe)
    assert recipe.name == "mine"
    assert recipe.attacks[0] == PlannedAttack("fgsm", eps=(8 / 255, 0.1), surrogate=("a",))
    assert recipe.attacks[1].threat == "score-based"
    assert recipe.defenses == ("none", "fast")
    assert marks.line(("attacks", 1, "steps")) == 9
    assert marks.line(("attacks", 0, "eps", 1)) == 7


def test_what_is_written_reads_back_the_same(tmp_path):
    recipe, _ = read_plan(write(tmp_path, GOOD))
    assert read_plan(write(tmp_path, to_yaml(recipe.to_dict())))[0] == recipe


@pytest.mark.parametrize("path", shipped_plans().values(), ids=str)
def test_shipped_recipes_can_be_run(path):
    recipe, _ = read_plan(path)
    check_plan(recipe)


def test_the_recipe_in_the_docs_can_be_run(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    read_and_check(write(tmp_path, text.split("```yaml\n")[1].split("```")[0]))


def test_shipped_recipes_go_by_name():
    assert read_plan("quick")[0].name == "quick"
    with pytest.raises(InputError, match="expected a YAML file or one of demo, quick, transfer"):
        read_plan("quik")


@pytest.mark.parametrize(
    ("before", "after", "line", "text"),
    [
        ("title: A title", "titel: A title", 1, "titel: no such setting"),
        ("  folder: photos", "  foldr: photos", 3, "data.foldr: no such setting"),
        ("    steps: 5", "    stepz: 5", 9, "attacks.1.stepz: no such setting"),
        ("    steps: 5", "    steps: many", 9, "'many' given"),
        ("    steps: 5", "    steps: 0", 9, "0 given; expected at least 1"),
        ("name: fgsm", "name: fgms", 5, "did you mean fgsm"),
        (
            "0.1]",
            "16]",
            7,
            "attacks.0.eps.1: 16 given; expected a value above 0 and up to 1; write",
        ),
        ("0.1]", "x]", 7, "expected a fraction such as 16/255"),
        ("0.1]", "8/0]", 7, "expected a fraction"),
        ("[8/255, 0.1]", "[0.1, 0.1]", 7, "one or more different budgets"),
        ("surrogate: a", "preset: mine", 6, "no preset 'mine'"),
        ("surrogate: a", "labels: given", 5, "a transfer needs a network"),
        ("surrogate: a", "surrogate: a\n    momentum: 1", 7, "no such setting"),
        ("surrogate: a", "surrogate: a\n    steps: 3", 7, "fgsm has no setting 'steps'"),
        ("surrogate: a", "surrogate: a\n    layer: x", 7, "fgsm has no such setting"),
        ("surrogate: a", "surrogate: a\n    draws: 3", 7, "2 or more with EOT, else 1"),
        ("surrogate: a", "threat: EOT", 5, "1 given; expected 2 or more with EOT"),
        ("surrogate: a", "threat: BPDA\n    surrogate: a", 7, "fgsm with BPDA has none"),
        ("surrogate: a", "surrogate: a\n    bpda: yes", 7, "goes with EOT"),
        ("surrogate: a", "surrogate: a\n    purifier: p", 7, "and with no other"),
        ("surrogate: a", "threat: score-based", 6, "hopskipjump are the only ones"),
        ("steps: 5", "threat: BPDA", 9, "BPDA given; square, simba, nes"),
        ("steps: 5", "settings: {p_init: 2}", 9, "p_init is 2"),
        ("steps: 5", "settings: {p_init: x}", 9, "settings: "),
        ("fgsm\n    surrogate: a", "ssp\n    threat: EOT\n    draws: 3", 6, "ssp is none"),
        ("name: fgsm\n    surrogate: a", "name: ssp\n    surrogate: [a, b]", 6, "one network"),
        ("victims: [b]", "victims: [b, b]", 10, "came before"),
        ("victims: [b]", "defenses: []", 10, "expected at least one"),
        ("victims: [b]", "metrics: [acuracy]", 10, "did you mean accuracy"),
        ("victims: [b]", "task: clasify", 10, "did you mean classify"),
        ("  folder: photos", "  masks: m", 3, "data.masks: does not belong to classify; it takes"),
        ("steps: 5", "norm: l3", 9, "'l3' given"),
        ("[8/255, 0.1]", "0\n    norm: l2", 7, "expected an ℓ2 length above 0"),
        ("surrogate: a", "attacked: made\n    steps: 3", 7, "attacks.0.steps: does not go with"),
        ("victims: [b]", "victims: [b]\nbatch: 0", 11, "0 given; expected at least 1"),
        ("victims: [b]", "victims: [b]\ntitle: again", 11, "title came before in line 1"),
        ("attacks:", "attacks: [\n", 6, "not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(tmp_path, before, after, line, text):
    message = refusal(tmp_path, GOOD.replace(before, after))
    assert text in message
    assert f"line {line}" in message


def test_all_problems_come_at_once(tmp_path):
    message = refusal(tmp_path, GOOD.replace("fgsm", "fgms").replace("[b]", "[b, b]"))
    assert "line 5" in message
    assert "line 10" in message
    message = refusal(tmp_path, GOOD.replace("0.1]", "16]").replace("steps: 5", "stepz: 5"))
    assert "line 7" in message
    assert "line 9" in message


def test_values_of_the_wrong_kind_do_not_hide_other_problems(tmp_path):
    text = GOOD.replace("steps: 5", "steps: many").replace("fgsm", "fgms")
    message = refusal(tmp_path, text.replace("[b]", "[b, b]") + "batch: 0\n")
    for problem in ("steps: 'many' given", "fgms", "victims.1: came before", "batch: 0 given"):
        assert problem in message
    assert message.count("line ") == 6  # and twice that there is no classifier b
    text = GOOD.replace("    surrogate: a", "    surrogate: a\n    threat: BPDAA")
    message = refusal(tmp_path, text + "seed: x\n")
    assert message.count("line ") == 3


def test_a_list_is_no_recipe(tmp_path):
    assert "holds list; expected a mapping" in refusal(tmp_path, "- 1\n")


def test_files_that_unfold_are_refused(tmp_path):
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "more than 10000 settings" in refusal(tmp_path, "\n".join(rows))
    assert "more than 10000 settings" in refusal(tmp_path, "a: &a [*a]")


def test_attacks_of_another_kind_are_named():
    with pytest.raises(RecipeError, match=r"attacks\.0: 'fgsm' given"):
        plan_from_dict({"attacks": ["fgsm"], "victims": ["a"]})


def test_python_recipes_are_checked_too():
    with pytest.raises(RecipeError, match=r"attacks\.0\.eps: 16 given"):
        check_plan(EvaluationPlan(victims=("a",), attacks=(PlannedAttack("noise", eps=(16,)),)))


def function(images):
    return images


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PlannedAttack("pgd", threat="gray-box"), "threat: 'gray-box' given; expected one"),
        (lambda: PlannedAttack("pgd", threat="score based"), "did you mean score-based"),
        (lambda: PlannedAttack("pgd", norm="l1"), r"norm: 'l1' given; did you mean"),
        (lambda: PlannedAttack("noise", eps=8 / 255), r"eps: 0\.03.* given; .* eps=\(8/255,\)"),
        (lambda: PlannedAttack("noise", eps=("8/255",)), r"eps\.0: '8/255' given; expected a num"),
        (
            lambda: PlannedAttack("fgsm", surrogate="vgg16"),
            r"surrogate: 'vgg16' given; .*\('vgg16',\)",
        ),
        (lambda: PlannedAttack("pgd", steps=2.5), "steps: 2.5 given; expected a whole number"),
        (lambda: PlannedAttack("pgd", draws=True), "draws: True given; expected a whole number"),
        (lambda: PlannedAttack("pgd", settings={1: 2}), "settings: .* given; expected a mapping"),
        (lambda: PlannedAttack(function), "name: <function .*register_attack"),
        (lambda: EvaluationPlan(attacks=PlannedAttack("noise")), "attacks: PlannedAttack.*tuple"),
        (lambda: EvaluationPlan(attacks=("noise",)), r"attacks\.0: 'noise' given; expected a Pl"),
        (lambda: EvaluationPlan(attacks=(function,)), r"attacks\.0: <function .*register_attack"),
        (lambda: EvaluationPlan(victims="mine"), r"victims: 'mine' given; .*=\('mine',\)"),
        (lambda: EvaluationPlan(victims=(function,)), r"victims\.0: <function .*models=\{"),
        (lambda: EvaluationPlan(data="nips"), r"data: 'nips' given; .*DataSpec\('photos'"),
        (lambda: EvaluationPlan(data=DataSpec(3)), "folder: 3 given; expected a text"),
        (
            lambda: PlannedAttack("pgd", eps=(np.float32(0.1),)),
            r"eps\.0: .* a number.* float\(e",
        ),
        (lambda: EvaluationPlan(defenses=("none", nn.Identity())), r"defenses\.1: Id.*register_d"),
        (lambda: EvaluationPlan(plugins="mine.py"), r"plugins: 'mine.py' given; expected a tuple"),
        (lambda: EvaluationPlan(amp="on"), "amp: 'on' given; expected true or false, or 'auto'"),
        (lambda: EvaluationPlan(batch="4", seed=None), r"seed: None given.*\n.*batch: '4' given"),
    ],
)
def test_values_of_the_wrong_kind_are_named_where_they_are_given(make, said):
    with pytest.raises(RecipeError, match=said):
        make()


def test_lists_and_whole_numbers_do_too():
    attack = PlannedAttack("pgd", eps=[1, 0.5], step_size=1, threat="BPDA")
    plan = EvaluationPlan(attacks=[attack], victims=["a"], defenses=["none"], amp=True)
    check_plan(plan)


@given(st.integers(1, 255))
def test_fractions_are_read_as_they_are_meant(number):
    assert distance(f"{number}/255") == number / 255
    if number > 1:
        with pytest.raises(InputError, match=f"write {number}/255"):
            distance(number)


HOSTILE = {
    "seed: !!int x": "line 2: not valid YAML: 'x' is not a valid int",
    "seed: !!bool x": "'x' is not a valid bool",
    "seed: !!float x": "'x' is not a valid float",
    "seed: 2024-13-45": "seed: '2024-13-45' given",
    "title: !!binary aGk=": "binary is an unknown kind of value",
    "? !!set {a}\n: 1": "set is an unknown kind of value",
    "? [a]\n: 1": "line 2: not valid YAML: found unhashable key",
    "<<: 3": "expected a mapping",
    f"seed: {'9' * 5000}": "is not a valid int",
    f"seed: 0x{'f' * 5000}": "an integer is too large",
    f"seed: '{'x' * 5000}'": "xxx… given",
    f"{'x' * 900}: 1": "no such setting",
    f"seed: {'[' * 3000}{']' * 3000}": "more than 10000 settings or 20 levels",
    "\n".join(f"k{i}: 1" for i in range(30_000)): "more than 10000 settings or 20 levels",
    "\n".join(f"k{i}: 1" for i in range(100)): "and 81 more problems",
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.items(), ids=[k[:24] for k in HOSTILE])
def test_hostile_files_get_a_short_message_with_a_line(tmp_path, text, message):
    begun = time.perf_counter()
    said = refusal(tmp_path, f"victims: [b]\n{text}\nattacks: []\n")
    assert message in said
    assert "line " in said
    assert len(said) < 2500
    assert time.perf_counter() - begun < 10


def test_attacks_that_see_scores_only():
    found = [name for name in attacks.names() if is_score_based(name)]
    assert found == ["square", "simba", "nes", "hopskipjump"]
    assert not is_score_based("nothing")


def test_paths_are_texts_of_a_plan():
    assert DataSpec(Path("photos"), labels=Path("photos.csv")) == DataSpec(
        "photos", labels="photos.csv"
    )
