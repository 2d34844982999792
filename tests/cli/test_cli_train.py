import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import TextColumn

from nrpurify.cli.overrides import change_recipe
from nrpurify.cli.progress import LoggedProgress, RateColumn, ShownProgress
from nrpurify.core.errors import InputError
from nrpurify.purifiers import load_purifier
from nrpurify.training import Recipe

RECIPE = """# A run of two steps.
purifier: micro
steps: 2
batch: 2
crop: 32
resize: [32, 40]
holdout: 0.3
adversaries: [{layers: [conv1_2], steps: [1, 1]}]
cache: {shards: 1, shard_size: 2, crop: 32}
losses: {features: [{layers: [conv1_2]}], adversarial: 0}
optimization: {amp: false}
checkpoint_every: 1
validation: {every: 1, photos: 1, side: 32, steps: 1}
"""


@pytest.fixture
def train(run, random_weights, photos, tmp_path):
    (tmp_path / "micro.yaml").write_text(RECIPE)
    recipe = tmp_path / "micro.yaml"

    def command(*args):
        return run("train", "--data", photos, "--recipe", recipe, "--device", "cpu", *args)

    return command


def test_two_steps(train, tmp_path):
    code, out, err = train("--out", tmp_path / "run", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["steps"] == 2
    assert result["metrics"]["psnr_attacked"] > 10
    assert "step 2: " in err
    assert f"psnr_purified {result['metrics']['psnr_purified']:.3f}" in err
    card = load_purifier(result["purifier"]).card
    assert card.metrics == result["metrics"]
    assert card.training["recipe"]["purifier"] == "micro"


def test_resume_ends_like_an_uninterrupted_run(train, tmp_path, monkeypatch):
    assert train("--out", tmp_path / "whole")[0] == 0

    def interrupt(self, what, done, total, values=None):
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ShownProgress, "update", interrupt)
        assert train("--out", tmp_path / "parts")[0] == 130
    code, _, err = train("--out", tmp_path / "parts")
    assert code == 2
    assert "--resume" in err
    code, out, _ = train("--out", tmp_path / "parts", "--resume", "--json")
    assert code == 0
    cards = [load_purifier(tmp_path / n / "purifier.safetensors").card for n in ("whole", "parts")]
    assert cards[0].sha256 == cards[1].sha256
    assert json.loads(out)["metrics"] == cards[0].metrics


def test_a_gate_alone(train, tmp_path):
    assert train("--out", tmp_path / "first")[0] == 0
    first = tmp_path / "first" / "purifier.safetensors"
    strong = ("--set", "strength.coarse=2", "--set", "gate.steps=2", "--set", "gate.batch=1")
    code, _, err = train("--out", tmp_path / "x", "--warm-start", first, "--steps", "0", *strong)
    assert code == 0, err
    assert "0 steps, 2 of the gate, in" in err
    assert load_purifier(tmp_path / "x" / "purifier.safetensors").gate is not None


def test_steps_seed_and_set_change_the_recipe(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = ("--set", "optimization.lr=1e-5", "--set", "adversaries.0.starts=[gaussian]")
    assert train("--steps", 1, "--seed", 5, *changes)[0] == 0
    written = json.loads(Path("runs/micro/recipe.json").read_text())
    assert (written["steps"], written["seed"]) == (1, 5)
    assert written["optimization"]["lr"] == 1e-5
    assert written["adversaries"][0]["starts"] == ["gaussian"]


def test_a_warm_start(train, tmp_path, tiny_file):
    args = ("--steps", 1, "--set", "optimization.lr=0", "--warm-start", tiny_file)
    assert train("--out", tmp_path / "run", *args)[0] == 0
    before = load_purifier(tiny_file).network.head.weight
    after = load_purifier(tmp_path / "run" / "purifier.safetensors").network.head.weight
    assert (before - after).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimization.lrr=1", "no setting 'lrr'; did you mean lr?"),
        ("optimisation.lr=1", "no setting 'optimisation'; did you mean optimization"),
        ("steps", "expected key=value"),
        ("steps=[1", "not valid YAML"),
        ("steps=!!int x", "'x' is not a valid int"),
        ("steps=" + "9" * 20, "too large"),
        ("steps=many", "steps: "),
        ("steps.first=1", "nothing below"),
        ("adversaries.7.weight=1", "no setting '7'; expected one of 0"),
        ("losses.gan=wgan", "losses.gan: "),
    ],
)
def test_set_errors_name_the_flag(train, tmp_path, assignment, message):
    code, _, err = train("--out", tmp_path / "run", "--set", assignment)
    assert code == 2
    assert f"--set {assignment}: " in err
    assert message in err
    assert not (tmp_path / "run").exists()


def test_changes_apply_in_order_and_leave_the_recipe_alone():
    recipe = Recipe()
    changed = change_recipe(recipe, ["losses.pixel=1", "losses.pixel=2", "losses.features=[]"])
    assert (changed.losses.pixel, changed.losses.features) == (2, ())
    assert recipe == Recipe()
    assert change_recipe(recipe, []) == recipe


def test_an_unknown_setting_raises():
    with pytest.raises(InputError, match="no setting 'nothing'"):
        change_recipe(Recipe(), ["nothing=1"])


def test_data_and_recipe_must_be_given(run, train, tmp_path):
    code, _, err = run("train")
    assert code == 2
    assert "--data" in err
    code, _, err = run("train", "--data", tmp_path, "--recipe", "fats-cpu")
    assert code == 2
    assert "no recipe 'fats-cpu'" in err


def test_list(run):
    code, out, _ = run("train", "--list")
    assert code == 0
    for name in Recipe.shipped():
        assert f"{name}: " in out
    listed = json.loads(run("train", "--list", "--json")[1])
    assert [row["name"] for row in listed] == list(Recipe.shipped())
    assert all(row["about"] and "#" not in row["about"] for row in listed)


def test_the_progress_bar_shows_cache_loss_and_validation():
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    columns = (TextColumn("{task.description}"), RateColumn(), TextColumn("{task.fields[info]}"))
    with LoggedProgress(*columns, console=console) as progress:
        shown = ShownProgress(progress)
        shown.update("adversaries", 1, 2)
        shown.update("adversaries", 2, 2)
        for step in (41, 42):
            shown.update("train", step, 100, {"loss": 1 / step, "pixel": 1.0})
        shown.update("gate", 3, 9, {"loss": 0.5})
        shown.note("step 42", {"psnr": 31.25})
        shown.warn("odd")
        done = {task.description: (task.completed, task.total) for task in progress.tasks}
    assert done == {"adversaries": (2, 2), "train": (42, 100), "gate": (3, 9)}
    text = console.file.getvalue()
    assert f"loss {1 / 42:.4f}" in text
    assert "step 42: psnr 31.250" in text
    assert "warning: odd" in text
    assert "pixel" not in text
    assert "/s" in text


def test_lines_without_a_terminal(monkeypatch):
    console = Console(file=io.StringIO(), width=200)
    clock = [0.0]
    monkeypatch.setattr("nrpurify.cli.progress.time.monotonic", lambda: clock[0])
    with LoggedProgress(console=console) as progress:
        shown = ShownProgress(progress)
        shown.update("adversaries", 1, 1)
        for step in range(1, 101):
            clock[0] += 1
            shown.update("train", step, 100, {"loss": 0.5})
    assert console.file.getvalue().splitlines() == [
        "adversaries 1/1",
        "train 1/100, loss 0.5000",
        "train 31/100, loss 0.5000, 69 s left",
        "train 61/100, loss 0.5000, 39 s left",
        "train 91/100, loss 0.5000, 9 s left",
        "train 100/100, loss 0.5000",
    ]


def test_every_description_of_a_bar_has_its_lines():
    """A grid names the work on its images in the description."""
    console = Console(file=io.StringIO(), width=200)
    with LoggedProgress(console=console) as progress:
        task = progress.add_task("images", total=None)
        for what in ("ssp", "pgd"):
            for done in (1, 2):
                progress.update(task, description=what, completed=done, total=2)
    assert console.file.getvalue().split("\n")[:4] == ["ssp 1/2", "ssp 2/2", "pgd 1/2", "pgd 2/2"]


def test_a_diverging_loss_is_one_line(train, tmp_path):
    code, _, err = train("--out", tmp_path / "run", "--set", "losses.pixel=1e39")
    assert code == 2
    assert "error: the loss is " in err
    assert "at step 0" in err
    assert "lower optimization.lr" in err
