"""A training of one's own on the base of all runs."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from nrpurify.core.errors import InputError
from nrpurify.core.progress import NO_VALUES, SILENT, Progress
from nrpurify.core.random import seeded
from nrpurify.training import TrainingRecipe, TrainingRun
from nrpurify.training.run import Measurement


@dataclass(frozen=True)
class WalkRecipe(TrainingRecipe):
    folder: ClassVar[str] = "walk"
    steps: int = 5
    checkpoint_every: int = 2
    seed: int = 0


class WalkTrainer:
    """A random walk: each step adds noise that depends on seed and step alone."""

    def __init__(self, recipe):
        self.recipe, self.step, self.place = recipe, 0, torch.zeros(3)

    def train_step(self):
        self.place += torch.randn(3, generator=seeded(self.recipe.seed, self.step))
        self.step += 1
        return {"loss": float(self.place.norm())}

    def state(self):
        return {"step": self.step, "place": self.place}

    def load_state(self, state):
        self.step, self.place = state["step"], state["place"]


class WalkRun(TrainingRun):
    weights_name = "walk.safetensors"

    def _counts(self):
        return {"files": len(self.files)}

    def _write_weights(self):
        save_file({"place": self.trainer.place}, self.weights_file)

    def _validation(self):
        return Measurement(3, lambda: {"x": float(self.trainer.place[0])})


class Interrupted(Progress):
    def update(self, what, done, total, values=NO_VALUES):
        if done == 3:
            raise KeyboardInterrupt


def walk(folder, progress=SILENT, **changes):
    recipe = WalkRecipe(**changes)
    return WalkRun(recipe, WalkTrainer(recipe), [], folder, torch.device("cpu"), progress)


def test_an_own_training_resumes_and_knows_its_folder(tmp_path):
    whole = walk(tmp_path / "whole")
    file = whole.execute()
    assert whole.training_card()["steps_done"] == 5
    assert set(whole.metrics) == {"x"}
    with pytest.raises(KeyboardInterrupt):
        walk(tmp_path / "cut", Interrupted()).execute()
    with pytest.raises(InputError, match="holds a run already"):
        walk(tmp_path / "cut").execute()
    with pytest.raises(InputError, match="seed was 0 and is 1"):
        walk(tmp_path / "cut", seed=1).execute(resume=True)
    with pytest.raises(InputError, match="steps was 5 and is 6"):
        walk(tmp_path / "cut", steps=6).execute(resume=True)
    cut = walk(tmp_path / "cut").execute(resume=True)
    assert torch.equal(load_file(file)["place"], load_file(cut)["place"])
    logs = [(tmp_path / name / "log.jsonl").read_text().count("train") for name in ("whole", "cut")]
    assert logs == [5, 5]


def test_a_training_without_warm_starts_refuses_one(tmp_path):
    with pytest.raises(InputError, match="WalkRun takes no warm start"):
        walk(tmp_path).execute(warm_start="x.safetensors")


def test_recipes_of_any_kind_extend_others(tmp_path):
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("steps: 7\nseed: 3\n")
    mine.write_text(f"extends: {base}\nseed: 4\n")
    assert WalkRecipe.load(mine) == WalkRecipe(steps=7, seed=4)
    assert WalkRecipe.load(mine, steps=9).steps == 9
    assert WalkRecipe.shipped() == {}
    mine.write_text("sed: 4\n")
    with pytest.raises(InputError, match=r"mine\.yaml cannot be used:\n  line 1, sed: Unexpected"):
        WalkRecipe.load(mine)
