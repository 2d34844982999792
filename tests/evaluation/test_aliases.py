"""Names of 0.1.0 work and warn; what they do is tested in test_simple_runs.py."""

import importlib

import pytest

from nrpurify import evaluation
from nrpurify.evaluation import DataSpec, EvaluationPlan, PlannedAttack, aliases


@pytest.mark.parametrize("name", sorted(aliases.OLD))
def test_old_names_warn(name):
    with pytest.warns(DeprecationWarning, match=f"{name} is now .*the old name goes with 0.3"):
        assert getattr(evaluation, name) is aliases.OLD[name][0]
    assert name not in evaluation.__all__


def test_the_lists_of_old_names_agree():
    assert set(aliases.OLD) == evaluation._OLD


def test_a_recipe_is_a_plan():
    with pytest.warns(DeprecationWarning, match="GridRecipe is now EvaluationPlan"):
        recipe = evaluation.GridRecipe((PlannedAttack("noise"),), ("a",), images=DataSpec("x"))
    expected = EvaluationPlan(DataSpec("x"), ("a",), (PlannedAttack("noise"),), name="grid")
    assert recipe == expected


def test_the_old_module_of_batches_warns():
    with pytest.warns(DeprecationWarning, match="harness is now"):
        module = importlib.import_module("nrpurify.evaluation.harness")
    assert module.Batch is evaluation.Batch


def test_a_watcher_of_a_grid_sees_images_results_and_warnings(tmp_path, photos, offline):
    seen = []

    class Watcher(aliases.SilentGrid):
        def worked(self, what, done, total):
            seen.append((what, done, total))

        def finished(self, cell, done, total, *, kept):
            seen.append((cell.attack, done, total))

    plan = EvaluationPlan(DataSpec(str(photos), size=32), ("a",), (), ("none",))
    aliases.OLD["run_grid"][0](plan, tmp_path / "run", watch=Watcher())
    assert seen == [("clean on none", 6, 6), ("clean", 1, 1)]
