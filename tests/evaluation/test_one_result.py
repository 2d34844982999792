"""Results depend on plan and seed: not on the batch, an interruption, or the way in."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify.attacks.constraints import round_within
from nrpurify.batch import AttackOptions, attack_folder
from nrpurify.cli.demo_run import demo_plan
from nrpurify.core.errors import GradientWarning
from nrpurify.core.records import read_records
from nrpurify.evaluation import (
    DataSpec,
    EvaluationPlan,
    PlannedAttack,
    read_plan,
)
from nrpurify.evaluation import run as run_plan
from nrpurify.evaluation.aliases import Plan, evaluate_folder
from nrpurify.evaluation.networks import attack_spec
from nrpurify.evaluation.simple import simple_attack
from nrpurify.models import as_classifier

pytestmark = pytest.mark.usefixtures("offline")
OWN = ("id", "seconds", "peak_memory_mb", "settings")


class Curved(nn.Module):
    """Three classes by color and texture, with a gradient everywhere."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(sum(map(ord, name)))
        self.net = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.Tanh(), nn.Conv2d(8, 3, 3, 2))

    def forward(self, images):
        return 20 * self.net(images).mean((2, 3))


@pytest.fixture
def curved(monkeypatch):
    monkeypatch.setattr(
        "nrpurify.models.load_classifier", lambda name: as_classifier(Curved(name), 3, name=name)
    )


@pytest.fixture
def noisy_photos(tmp_path):
    """Five photos of three classes, no two alike."""
    generator = torch.Generator().manual_seed(5)
    for index in range(5):
        path = tmp_path / "noisy" / str(index % 3) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = torch.randint(60, 190, (32, 32, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(values.numpy()).save(path)
    return tmp_path / "noisy"


def recipe(photos, **changes):
    eot = {"threat": "EOT", "draws": 2, "steps": 2}
    attacks = (
        PlannedAttack("noise", eps=(8 / 255,)),
        PlannedAttack("ssp", eps=(8 / 255,), steps=2),
        *(
            PlannedAttack(name, eps=(8 / 255,), surrogate=("s",), steps=3)
            for name in ("pgd", "dim", "fsa")
        ),
        PlannedAttack("r-fgsm", eps=(8 / 255,), surrogate=("s",)),
        PlannedAttack(
            "apgd-ce", eps=(8 / 255,), surrogate=("s",), settings={"restarts": 2}, steps=3
        ),
        PlannedAttack("square", eps=(8 / 255,), threat="score-based", steps=20),
        PlannedAttack("pgd", eps=(8 / 255,), **eot),
        PlannedAttack("pgd", eps=(8 / 255,), threat="full gradient", steps=2),
    )
    images = DataSpec(str(photos), size=32, check_labels=False)
    given = {"defenses": ("none", "noise:passes=2")} | changes
    return EvaluationPlan(images, ("a",), attacks, group=2, **given)


def values(run):
    return [{k: v for k, v in cell.items() if k not in OWN} for cell in run["cells"]]


def stored(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.png"))
    }


def test_a_grid_depends_neither_on_batches_nor_on_an_interruption(noisy_photos, tmp_path, curved):
    found, files, hits = [], [], []
    for name, batch in (("one", 1), ("sixteen", 16), ("parts", 4)):
        out, own = tmp_path / name, recipe(noisy_photos, batch=batch)
        if name == "parts":
            run_plan(replace(own, attacks=own.attacks[:6]), out)
            cells = sorted((out / "cells").iterdir())
            for path in [*cells[::2], *sorted(out.rglob("adversaries/*/*.png"))[::3]]:
                path.unlink()
        run = run_plan(own, out, resume=name == "parts")
        found.append(values(run))
        files.append(stored(out / "adversaries"))
        kept = (json.loads((out / "cells" / f"{c['id']}.json").read_text()) for c in run["cells"])
        hits.append([one["hits"] for one in kept])
    assert len(files[0]) == 7 * 5
    assert len({str(one) for one in found}) == 1
    assert all(one == files[0] for one in files[1:])
    assert all(one == hits[0] for one in hits[1:])


@pytest.mark.parametrize("attack", ["pgd", "square", "noise"])
def test_an_evaluation_does_not_depend_on_batches(noisy_photos, purifier_file, curved, attack):
    surrogate = None if attack == "noise" else "s"
    steps = None if attack == "noise" else 5
    plan = Plan(
        victims=("a", "b"), attack=attack, surrogate=surrogate, steps=steps, size=32, eps=0.05,
        purifier=purifier_file, check_labels=False, amp=False,
    )  # fmt: skip
    seen = []
    for batch in (1, 4, 16):
        result = evaluate_folder(noisy_photos, replace(plan, batch=batch)).result
        assert result["settings"]["group"] == 4
        seen.append(result)
    assert seen[0] == seen[1] == seen[2]


def test_ssp_without_options_is_one_attack_everywhere():
    wanted = {"distance": "mae", "start": "uniform", "steps": 100, "step_size": 0.01}
    ways = [
        AttackOptions().spec.described(),
        attack_spec(simple_attack("ssp", 16 / 255)).described(),
        attack_spec(PlannedAttack("ssp")).described(),
    ]
    for found in ways:
        assert {name: found[name] for name in wanted} == wanted
    assert ways[0] == ways[1] == ways[2]


def test_demo_and_quick_say_their_steps():
    assert [attack.steps for attack in demo_plan().attacks] == [30]
    recipe, _ = read_plan("quick")
    assert {a.steps for a in recipe.attacks if a.name == "ssp"} == {30}


# --- gradients that lead nowhere ---------------------------------------------------------------


@pytest.fixture
def flat(monkeypatch):
    class Flat(Curved):
        def forward(self, images):
            return 0 * super().forward(images)

    monkeypatch.setattr(
        "nrpurify.models.load_classifier", lambda name: as_classifier(Flat(name), 3, name=name)
    )


def test_transfers_warn_of_gradients_of_zeros_also_when_resumed(noisy_photos, tmp_path, flat):
    own = recipe(noisy_photos, defenses=("none",))
    own = replace(own, attacks=(PlannedAttack("mi-fgsm", surrogate=("s",)),))
    for resume in (False, True):
        run = run_plan(own, tmp_path / "run", resume=resume)
        (text,) = [w["text"] for w in run["warnings"] if w["kind"] == "no gradient"]
        assert text.startswith("mi-fgsm (oblivious transfer) met a gradient of zeros at up to 5 of")
        for path in (tmp_path / "run" / "cells").iterdir():
            path.unlink()


def test_an_evaluation_notes_gradients_of_zeros(noisy_photos, purifier_file, flat):
    plan = Plan(
        victims=("a",), attack="fgsm", surrogate="s", size=32, purifier=purifier_file,
        check_labels=False,
    )  # fmt: skip
    (note,) = [text for text in evaluate_folder(noisy_photos, plan).notes if "zeros" in text]
    assert "fgsm (oblivious transfer) met a gradient of zeros at up to 5 of 5 images" in note
    assert issubclass(GradientWarning, UserWarning)


# --- rounding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0021, 1 / 255, 0.1, 8 / 255, 0.03, 1.0])
def test_rounding_stays_in_the_ball_and_is_the_nearest_level_else(eps):
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 9, 9, generator=generator)
    signs = torch.rand(clean.shape, generator=generator) * 2 - 1
    attacked = (clean + eps * signs).clamp(0, 1)
    found = 255 * round_within(attacked, clean, eps)
    base, nearest = (255 * clean).round(), (255 * attacked).round()
    assert (found - base).abs().max() <= 255 * eps + 1e-3
    torch.testing.assert_close(found, found.round(), rtol=0, atol=1e-4)
    changed = (found - nearest).abs() > 0.5
    assert ((nearest - base).abs()[changed] > 255 * eps).all()
    assert ((found - nearest).abs() <= 1 + 1e-4).all()
    if eps > 1 / 255:
        assert (found != base).any()


def test_an_evaluation_rounds_unless_told_otherwise(noisy_photos, tmp_path, curved):
    found = {}
    for rounding in ("uint8", "float"):
        plan = EvaluationPlan(
            DataSpec(str(noisy_photos), size=32, check_labels=False),
            ("a",),
            (PlannedAttack("noise", eps=(0.021,)),),
            ("none",),
            rounding=rounding,
        )
        run_plan(plan, tmp_path / rounding)
        (folder,) = (tmp_path / rounding / "adversaries").iterdir()
        found[rounding] = max(one["linf"] for one in read_records(folder).files.values())
    assert EvaluationPlan().rounding == "uint8"
    assert found["uint8"] == pytest.approx(5 / 255, abs=1e-6)
    assert found["float"] == pytest.approx(0.021, abs=1e-6)


@pytest.mark.parametrize(("purifier", "size", "noted"), [("tiny", 32, True), ("mine", 32, False)])
def test_small_images_behind_a_shipped_purifier_are_noted(
    photos, purifier_file, tmp_path, caplog, purifier, size, noted
):
    purifier = purifier_file if purifier == "mine" else purifier
    plan = Plan(victims=("a",), attack="noise", size=size, purifier=purifier)
    outcome = evaluate_folder(photos, plan)
    recipe = EvaluationPlan(
        DataSpec(str(photos), size=size), ("a",), (PlannedAttack("noise"),), (str(purifier),)
    )
    texts = [warning["text"] for warning in run_plan(recipe, tmp_path / "run")["warnings"]]
    wanted = f"images of {size} pixels: the shipped purifiers"
    for found in (outcome.notes, outcome.result["notes"], texts):
        assert any(text.startswith(wanted) for text in found) is noted


def test_photographs_that_are_small_and_enlarged_are_noted_too(photos):
    plan = Plan(victims=("a",), attack="noise", size=96, purifier="tiny")
    (note,) = evaluate_folder(photos, plan).notes
    assert note.startswith("images of 40 pixels")


@pytest.mark.parametrize(("eps", "uint8", "noted"), [(0.9, True, 1), (0.9, False, 0), (1, True, 0)])
def test_a_budget_below_one_step_of_8_bits_is_noted(
    photos, purifier_file, tmp_path, eps, uint8, noted
):
    plan = Plan(victims=("a",), attack="noise", size=32, purifier=purifier_file)
    outcome = evaluate_folder(photos, replace(plan, eps=eps / 255, uint8=uint8))
    recipe = EvaluationPlan(
        DataSpec(str(photos), size=32),
        ("a",),
        (PlannedAttack("noise", eps=(eps / 255,)),),
        ("none",),
        rounding="uint8" if uint8 else "float",
    )
    warnings = run_plan(recipe, tmp_path / "run")["warnings"]
    for texts in (outcome.notes, [warning["text"] for warning in warnings]):
        assert sum("below one step of 8 bits" in text for text in texts) == noted
    if uint8:
        options = AttackOptions("noise", eps=eps / 255)
        notes = attack_folder(photos, tmp_path / "out", options, recursive=True).notes
        assert len(notes) == noted
