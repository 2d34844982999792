"""Results name the arithmetic that was used; every command that attacks takes --amp."""

from dataclasses import replace

import pytest
from typer.main import get_command

from nrpurify.cli.app import app
from nrpurify.core.versions import environment
from nrpurify.evaluation import (
    DataSpec,
    EvaluationPlan,
    PlannedAttack,
)
from nrpurify.evaluation import run as run_plan
from nrpurify.evaluation.aliases import Plan, evaluate_folder

pytestmark = pytest.mark.usefixtures("offline")


@pytest.mark.parametrize(("amp", "used"), [(False, "fp32"), (True, "bf16")])
def test_grids_and_evaluations_record_the_precision_used(
    photos, purifier_file, tmp_path, amp, used
):
    recipe = EvaluationPlan(
        DataSpec(str(photos), size=32), ("a",), (PlannedAttack("noise"),), ("none",), amp=amp
    )
    run = run_plan(recipe, tmp_path / "run")
    assert run["precision"] == used
    assert run["versions"]["processor"] == environment()["processor"]
    assert {cell["precision"] for cell in run["cells"]} == {used}
    plan = Plan(victims=("a",), attack="noise", size=32, purifier=purifier_file, amp=amp)
    settings = evaluate_folder(photos, plan).result["settings"]
    assert settings["precision"] == used
    assert settings["processor"] == environment()["processor"]
    auto = evaluate_folder(photos, replace(plan, amp="auto")).result["settings"]
    assert auto["precision"] in ("fp32", "bf16")


def test_commands_that_attack_take_amp():
    commands = get_command(app).commands
    found = [commands[name] for name in ("attack", "purify", "evaluate", "grid", "demo")]
    for command in (*found, commands["paper"].commands["run"]):
        assert "--amp" in [option for one in command.params for option in one.opts]
