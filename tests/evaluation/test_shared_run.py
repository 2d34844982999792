"""Runs of one plan by several processes in one folder."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nrpurify.core.claims import LIFETIME
from nrpurify.core.errors import InputError
from nrpurify.evaluation import DataSpec, EvaluationPlan, PlannedAttack
from nrpurify.evaluation import run as run_plan


def plan(photos):
    return EvaluationPlan(
        attacks=(
            PlannedAttack("noise", eps=(8 / 255, 0.5)),
            PlannedAttack("fgsm", eps=(0.5,), surrogate=("a", "b")),
        ),
        victims=("a", "b"),
        defenses=("none", "median"),
        data=DataSpec(str(photos), size=32),
        batch=4,
    )


def numbers(run):
    kept = ("id", "attack", "eps", "defense", "victim", "value", "interval", "success")
    return [{key: cell[key] for key in kept} for cell in run["cells"]]


@pytest.mark.usefixtures("offline")
def test_a_claimed_result_is_waited_for_and_taken_over_when_it_expires(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("nrpurify.evaluation.execution._POLL", 0.05)
    alone = run_plan(plan(photos), tmp_path / "alone")
    claimed = []

    def dying(claims, name):  # leaves a claim behind, as a killed process does
        claims.folder.mkdir(exist_ok=True)
        claimed.append(claims.folder / f"{name}.claim")
        claimed[0].touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nrpurify.core.claims.Claims.held", dying)
        with pytest.raises(KeyboardInterrupt):
            run_plan(plan(photos), tmp_path / "run", shared=True)
    expiring = threading.Timer(1, os.utime, (claimed[0], (0, time.time() - LIFETIME - 1)))
    expiring.start()
    start = time.monotonic()
    run = run_plan(plan(photos), tmp_path / "run", shared=True)
    assert time.monotonic() - start >= 1
    assert numbers(run) == numbers(alone)
    assert not (tmp_path / "run" / "claims").exists()


def test_shared_work_needs_a_folder(photos):
    with pytest.raises(InputError, match="needs a folder"):
        run_plan(plan(photos), shared=True)


CODE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_shared_run import numbers, plan
from conftest import Colors
from nrpurify.evaluation import run
from nrpurify.evaluation.measurement import Measurement
from nrpurify.models import as_classifier

measure, mine = Measurement.measure, []

def slow(self, unit):
    mine.append(unit.title + " " + ",".join(unit.victims))
    time.sleep(0.3)
    return measure(self, unit)

Measurement.measure = slow
models = {name: as_classifier(Colors(), 1000, name=name) for name in "ab"}
run(plan(sys.argv[2]), sys.argv[3], models=models, shared=True)
print("\\n".join(mine))
"""


@pytest.mark.slow
def test_two_processes_measure_each_result_once(photos, tmp_path):
    here = str(Path(__file__).parent)
    out = [tmp_path / "one", tmp_path / "two"]
    commands = [[sys.executable, "-c", CODE, here, str(photos), str(path)] for path in out]
    alone = subprocess.run(commands[0], capture_output=True, text=True, check=True)
    both = [subprocess.Popen(commands[1], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    done = [process.communicate()[0].split("\n")[:-1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(done[0] + done[1]) == sorted(alone.stdout.split("\n")[:-1])
    assert all(done)
    runs = [json.loads((path / "run.json").read_text()) for path in out]
    assert numbers(runs[0]) == numbers(runs[1])
