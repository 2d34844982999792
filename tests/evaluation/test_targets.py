"""Attacks toward a class that is drawn for each image."""

import json

import pytest
import torch

from nrpurify.cli import main
from nrpurify.core.config import RecipeError
from nrpurify.evaluation import DataSpec, EvaluationPlan, PlannedAttack
from nrpurify.evaluation import run as run_plan
from nrpurify.evaluation.batches import Batch
from nrpurify.evaluation.plan_checks import check_plan
from nrpurify.evaluation.setup import Setup, drawn_targets

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def three_classes(monkeypatch):
    """Only the colors' classes are drawn; the others have no pixel of their own."""
    monkeypatch.setattr(Setup, "classes", 3)


def value(cells, attack, metric):
    (found,) = {c["value"] for c in cells if (c["attack"], c["metric"]) == (attack, metric)}
    return found


def test_targets_are_drawn_for_each_image():
    images, labels = torch.rand(40, 3, 4, 4), torch.arange(40) % 5
    drawn = drawn_targets(Batch(images, labels, [""] * 40), 5, 0)
    assert (drawn != labels).all()
    assert set(drawn.tolist()) == set(range(5))
    part = drawn_targets(Batch(images[7:9], labels[7:9], [""] * 2), 5, 0)
    assert torch.equal(part, drawn[7:9])
    assert not torch.equal(drawn_targets(Batch(images, labels, [""] * 40), 5, 1), drawn)


@pytest.mark.parametrize("name", ["logit", "pgd", "mi-fgsm", "dim-ti"])
@pytest.mark.usefixtures("three_classes")
def test_a_plan_counts_the_targets_that_are_reached(name, photos, tmp_path):
    plan = EvaluationPlan(
        attacks=(
            PlannedAttack(name, (0.7,), surrogate=("c",), steps=10, step_size=0.1, labels="random"),
            PlannedAttack("fgsm", (0.7,), surrogate=("c",)),
        ),
        victims=("a",),
        defenses=("none",),
        data=DataSpec(str(photos), size=32),
        metrics=("accuracy", "targeted-success"),
    )
    run = run_plan(plan, tmp_path / "run")
    assert value(run.cells, "clean", "targeted-success") == 0
    assert value(run.cells, name, "targeted-success") == 1
    assert value(run.cells, name, "accuracy") == 0
    assert value(run.cells, "fgsm", "targeted-success") == 0  # it leads away only


@pytest.mark.usefixtures("three_classes")
def test_the_command_line(photos, purifier_file, tmp_path, capsys):
    words = ["evaluate", photos, "--victim", "a", "--surrogate", "c", "--attack", "mi-fgsm"]
    words += ["--targeted", "--eps", "0.5", "--size", "32", "--defense", "none"]
    assert main([*map(str, words), "--out", str(tmp_path / "run")]) == 0
    cells = json.loads((tmp_path / "run" / "run.json").read_text())["cells"]
    assert value(cells, "mi-fgsm", "targeted-success") == 1
    assert {c["settings"]["labels"] for c in cells if c["attack"] == "mi-fgsm"} == {"random"}


@pytest.mark.parametrize(
    ("attack", "task", "text"),
    [
        ("tap", "classify", "random given; tap leads toward no class"),
        ("ssp", "detect", "random given; detect has no classes of images to lead toward"),
    ],
)
def test_attacks_and_tasks_without_targets(attack, task, text):
    plan = EvaluationPlan(
        attacks=(PlannedAttack(attack, surrogate=("vgg16",), labels="random"),), task=task
    )
    with pytest.raises(RecipeError, match=text):
        check_plan(plan)
