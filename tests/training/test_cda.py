import json

import pytest
import torch
from safetensors.torch import load_file

from nrpurify.attacks import load_generator, load_pattern
from nrpurify.attacks.constraints import LinfBall
from nrpurify.core.checkpoint import read_carded
from nrpurify.core.errors import InputError
from nrpurify.core.lock import locked
from nrpurify.core.progress import NO_VALUES, SILENT, Progress
from nrpurify.models.features import FeatureExtractor
from nrpurify.training import (
    AttackValidation,
    CdaRecipe,
    CdaRun,
    FffRecipe,
    cda,
    fff,
    make_fff,
)
from nrpurify.training.cda import agreement, clip_through, pooled_logits, relativistic_loss

MICRO = {
    "size": "small", "network": "vgg16", "layer": "conv2", "steps": 4, "batch": 2, "crop": 12,
    "resize": (14, 18), "holdout": 0.3, "checkpoint_every": 2, "straight": True,
    "validation": {"every": 2, "photos": 2, "side": 16, "victim": "any", "eps": (8 / 255,)},
}  # fmt: skip


class Interrupted(Progress):
    def update(self, what, done, total, values=NO_VALUES):
        if done == 3:
            raise KeyboardInterrupt


def victim(images):
    return images.mean((2, 3))


@pytest.fixture
def go(micro, monkeypatch, photo_folder, tmp_path):
    for module in (cda, fff):
        monkeypatch.setattr(module, "feature_extractor", micro.tiny_extractor)
    monkeypatch.setattr(cda, "GeneratorNet", lambda blocks: cda_trainer_net(blocks))
    monkeypatch.setattr(cda, "load_classifier", lambda name, device: victim)

    def start(folder, *, resume=False, progress=SILENT, **changes):
        recipe = CdaRecipe.from_dict({**MICRO, **changes})
        run = CdaRun(recipe, photo_folder, tmp_path / folder, torch.device("cpu"), progress)
        return run.execute(resume=resume), run

    return start


def cda_trainer_net(blocks):
    from nrpurify.attacks.generator import GeneratorNet

    return GeneratorNet(blocks, 4)


def state(folder):
    return torch.load(folder / "state.pt", weights_only=True)["trainer"]


def test_the_loss_by_hand():
    clean = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    attacked = torch.tensor([[1.0, 1.0], [0.0, 3.0]])
    # differences (-1, 0) and (0, 0); the clean answers are 0 and 1
    first = -torch.log(torch.exp(torch.tensor(-1.0)) / (1 + torch.exp(torch.tensor(-1.0))))
    second = torch.log(torch.tensor(2.0))
    torch.testing.assert_close(relativistic_loss(attacked, clean), -(first + second) / 2)


def test_logits_are_means_over_positions(extractor, images):
    (features,) = extractor(images)
    torch.testing.assert_close(pooled_logits(extractor, images), features.mean((2, 3)))
    head = FeatureExtractor(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(360, 4)), "1")
    assert pooled_logits(head, images).shape == (3, 4)


def test_gradients_pass_the_clipping():
    made = torch.tensor([2.0, 2.0, -1.0, -1.0, 0.5], requires_grad=True)
    clipped = clip_through(made, LinfBall(torch.zeros(5), torch.ones(5)))
    assert clipped.tolist() == [1, 1, 0, 0, 0.5]
    clipped.backward(torch.tensor([1.0, -1.0, 1.0, -1.0, 3.0]))
    assert made.grad.tolist() == [1, -1, 1, -1, 3]


@pytest.mark.parametrize("straight", [True, False])
def test_a_whole_run(go, weight_size, tmp_path, straight):
    file, run = go("run", straight=straight)
    assert file == tmp_path / "run" / "generator.safetensors"
    card, _ = read_carded(file)
    assert card.training["steps_done"] == 4
    assert card.training["photos"] + card.training["held_out"] == 6
    assert card.training["recipe"]["straight"] == straight
    # the sum before the trainings got one base
    assert weight_size(file) == pytest.approx(796.7767 if straight else 796.8695, rel=2e-5)
    assert card.metrics == run.metrics
    assert 0 <= run.metrics["agree_8"] <= 1
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(row["kind"], row["step"]) for row in rows] == [
        ("train", 1), ("train", 2), ("validation", 2), ("train", 3), ("train", 4),
        ("validation", 4),
    ]  # fmt: skip


def test_resume_equals_an_uninterrupted_run(go, tmp_path):
    whole, _ = go("whole")
    with pytest.raises(KeyboardInterrupt):
        go("cut", progress=Interrupted())
    assert state(tmp_path / "cut")["step"] == 2
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        go("cut")
    with pytest.raises(InputError, match="was started with another recipe"):
        go("cut", resume=True, seed=1)
    cut, _ = go("cut", resume=True)
    first, second = load_file(whole), load_file(cut)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    for part in ("generator", "average"):
        first, second = (state(tmp_path / name)[part] for name in ("whole", "cut"))
        assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_two_runs_in_one_folder_at_once(go, tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run" / "run.lock"), pytest.raises(InputError, match="is training in"):
        go("run", steps=2)


def test_steps_move_the_generator_and_lower_the_loss(go):
    _, run = go("long", steps=30, lr=1e-3, validation={**MICRO["validation"], "photos": 0})
    assert run.metrics == {}
    run.trainer.step = 0
    assert run.trainer.train_step()["loss"] < CLEAN_LOSS


def test_the_average_is_what_is_saved_and_the_rate_falls(go, tmp_path):
    file, run = go("run", ema=0.5, warmup=2, final_lr=0.0, lr=0.5)
    moved, average = run.trainer.generator.state_dict(), run.trainer.average.state_dict()
    saved = load_file(file)
    assert all(torch.equal(value, average[name].half()) for name, value in saved.items())
    assert not all(torch.equal(value, moved[name].half()) for name, value in saved.items())
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    rates = [row["lr"] for row in rows if row["kind"] == "train"]
    assert rates == pytest.approx([0.25, 0.5 * (1 + 0.5**0.5) / 2, 0.25, 0.5 * (1 - 0.5**0.5) / 2])


CLEAN_LOSS = -torch.log(torch.tensor(12.0))
"""What attacked images that equal the clean ones give with twelve channels."""


def test_the_callers_generator_is_left_as_it_was(go):
    before = torch.get_rng_state()
    go("run")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_not_finite(go):
    with pytest.raises(FloatingPointError, match="at step 0"):
        go("run", scale=1e38)


def test_agreement():
    clean = torch.zeros(2, 3, 8, 8)
    clean[:, 0] = 0.5
    clean[1, 1] = 0.3

    class Swap(torch.nn.Module):
        def forward(self, images):
            return images.flip(1)

    found = agreement(Swap(), victim, clean, AttackValidation(eps=(1 / 255, 16 / 255)))
    assert found == {"agree_1": 1.0, "agree_16": 1.0}
    clean[1, 1] = 0.47
    found = agreement(Swap(), victim, clean, AttackValidation(eps=(1 / 255, 16 / 255)))
    assert found == {"agree_1": 1.0, "agree_16": 0.5}


def test_shipped_recipes_fit_their_kind():
    for kind in (CdaRecipe, FffRecipe):
        assert len(kind.shipped()) == 2
        assert [kind.load(name, seed=3).seed for name in kind.shipped()] == [3, 3]
    assert CdaRecipe.load("cda-paper").to_dict() == {
        **CdaRecipe().to_dict(),
        "checkpoint_every": 500,
        "validation": {**CdaRecipe().to_dict()["validation"], "every": 2000, "photos": 64},
    }
    assert FffRecipe.load("fff-paper") == FffRecipe()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eps": 10}, "write 10 of 255 as 10/255"),
        ({"batch": 0}, "batch: is 0; expected at least 1"),
        ({"validation": {"eps": [16]}}, r"validation\.eps: .*write 16 of 255"),
        ({"size": "huge"}, "size"),
        ({"colour": 1}, "colour"),
    ],
)
def test_recipes_that_cannot_be(values, message):
    with pytest.raises(InputError, match=message):
        CdaRecipe.from_dict(values)


@pytest.mark.parametrize("kind", [CdaRecipe, FffRecipe])
def test_seeds_that_no_generator_takes(kind):
    with pytest.raises(InputError, match=r"seed: is -18446744073709551616; expected a whole"):
        kind(seed=-(2**64))


def test_a_pattern_and_its_card(go, tmp_path):
    recipe = FffRecipe.from_dict({"layers": ["conv1", "conv2"], "side": 8, "steps": 120})
    seen = []

    class Recorder(Progress):
        def update(self, what, done, total, values=NO_VALUES):
            seen.append(done)
            assert values["excitation"] > 0

    card = make_fff(recipe, tmp_path / "p.safetensors", progress=Recorder())
    assert card.training["steps_done"] == len(seen) == 120
    assert card.training["recipe"]["side"] == 8
    pattern = load_pattern(tmp_path / "p.safetensors")
    assert pattern.shape == (3, 8, 8)
    assert card.metrics["saturation"] == pytest.approx(
        float((pattern.abs() == 1).float().mean()), abs=0.02
    )
    again = make_fff(recipe, tmp_path / "q.safetensors")
    assert again.sha256 == card.sha256


def test_a_run_s_generator_attacks(go, images):
    file, _ = go("run", steps=1)
    with pytest.raises(OSError, match="does not fit its own card"):
        load_generator(file)  # the micro net is narrower than its card says
