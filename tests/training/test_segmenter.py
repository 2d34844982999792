import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from nrpurify.cli import main
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.images import write_png
from nrpurify.core.lock import locked
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.data.masks import CAMVID, IGNORED, ClassTable, Sample, find_pairs
from nrpurify.models.segmenters.checkpoint import load_segnet
from nrpurify.training.segmenter import (
    SegNetRecipe,
    Stage,
    measure,
    settle_norms,
    split_pairs,
    train_segnet,
)
from nrpurify.training.segmenter_data import random_view, recolor

PLAN = SegNetRecipe(
    stages=(Stage(2, 2, (16, 32), (0.5, 0.8)), Stage(2, 1, (32, 16), (1.0, 1.0))),
    warmup=1,
    norm_images=2,
    holdout=0.25,
    checkpoint_every=2,
)


class KilledError(Exception):
    pass


class Recorder(Progress):
    def __init__(self, die_at=-1):
        self.die_at, self.seen = die_at, []

    def update(self, what, done, total, values=NO_VALUES):
        self.seen.append((done, total, values["loss"]))
        if done == self.die_at:
            raise KilledError


@pytest.fixture
def camvid(tmp_path):
    """Eight street scenes: sky over road, the hood is void."""
    for index in range(8):
        picture = torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(index)) * 0.2
        picture[2, :20] += 0.7
        classes = torch.zeros(40, 48)
        classes[20:] = 3
        classes[36:] = 11
        write_png(tmp_path / "camvid" / "train" / f"{index}.png", picture)
        mask = (classes / 255).expand(3, -1, -1)
        write_png(tmp_path / "camvid" / "trainannot" / f"{index}.png", mask)
    return tmp_path / "camvid"


def run(camvid, out, **options):
    plan = options.pop("plan", PLAN)
    return train_segnet(camvid / "train", camvid / "trainannot", out, plan, **options)


def test_a_run_leaves_a_checkpoint_that_says_how(camvid, weight_size, tmp_path):
    progress = Recorder()
    seen = progress.seen
    file = run(camvid, tmp_path / "run", progress=progress)
    _, card = load_segnet(file)
    assert weight_size(file) == pytest.approx(
        13783.6259, rel=2e-5
    )  # before all trainings got one base
    assert card.training["images"] == 6
    assert card.training["held_out"] == 2
    assert card.training["recipe"]["stages"][1]["size"] == [32, 16]
    assert 0 <= card.metrics["pixel accuracy, held out"] <= 1
    assert [(step, total) for step, total, _ in seen] == [(k, 4) for k in range(1, 5)]
    rows = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["lr"] == PLAN.lr
    assert rows[-1]["loss"] == pytest.approx(seen[-1][2])


def test_a_resumed_run_does_what_an_uninterrupted_one_does(camvid, tmp_path):
    with pytest.raises(KilledError):
        run(camvid, tmp_path / "b", progress=Recorder(die_at=3))
    with pytest.raises(InputError, match="add --resume"):
        run(camvid, tmp_path / "b")
    with pytest.raises(InputError, match="another recipe"):
        run(camvid, tmp_path / "b", plan=SegNetRecipe(), resume=True)
    whole, resumed = run(camvid, tmp_path / "a"), run(camvid, tmp_path / "b", resume=True)
    assert load_segnet(whole)[1].sha256 == load_segnet(resumed)[1].sha256


def test_the_callers_generator_is_left_as_it_was(camvid, tmp_path):
    before = torch.get_rng_state()
    run(camvid, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_average_is_saved(camvid, tmp_path):
    plain = run(camvid, tmp_path / "plain", plan=replace(PLAN, ema=0.0))
    averaged = run(camvid, tmp_path / "averaged", plan=replace(PLAN, ema=0.9))
    state = torch.load(tmp_path / "averaged" / "state.pt", weights_only=True)["trainer"]
    last, mean = (load_segnet(file)[0].state_dict() for file in (plain, averaged))
    name = "classifier.weight"
    torch.testing.assert_close(last[name], state["network"][name], atol=1e-3, rtol=0)
    torch.testing.assert_close(mean[name], state["average"][name], atol=1e-3, rtol=0)
    assert not torch.equal(last[name], mean[name])


def test_a_warm_start_begins_with_the_given_weights(camvid, tmp_path):
    first = run(camvid, tmp_path / "first")
    idle = replace(PLAN, lr=1e-12, final_lr=1e-12, weight_decay=0.0)
    second = run(camvid, tmp_path / "second", plan=idle, warm_start=first)
    given, kept = (load_segnet(file)[0] for file in (first, second))
    for name, weight in given.named_parameters():
        torch.testing.assert_close(kept.get_parameter(name), weight, atol=1e-3, rtol=0)
    table = ClassTable(CAMVID.names[:4], (11,))
    with pytest.raises(InputError, match="warm start has 11 classes; the class table has 4"):
        run(camvid, tmp_path / "third", table=table, warm_start=first)


def test_norms_of_the_training_stay_if_none_are_settled(camvid, tmp_path):
    """Neither is the held-out accuracy measured on, nor do the weights learn, its images."""
    plan = replace(PLAN, norm_images=0)
    run(camvid, tmp_path / "run", plan=plan)
    kept = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["trainer"]["average"]
    found, card = load_segnet(tmp_path / "run" / "segmenter.safetensors")
    name = next(name for name in kept if name.endswith("running_mean"))
    torch.testing.assert_close(found.state_dict()[name], kept[name], atol=1e-3, rtol=1e-2)
    assert 0 <= card.metrics["pixel accuracy, held out"] <= 1


def test_other_images_cannot_take_over_a_run(camvid, tmp_path):
    run(camvid, tmp_path / "run")
    for part in ("train", "trainannot"):
        (camvid / part / "7.png").unlink()
    with pytest.raises(InputError, match="was started on other files"):
        run(camvid, tmp_path / "run", resume=True)


def test_two_runs_in_one_folder_at_once(camvid, tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run" / "run.lock"), pytest.raises(InputError, match="is training in"):
        run(camvid, tmp_path / "run")


def test_a_broken_state_is_named(camvid, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"state\.pt cannot be read"):
        run(camvid, tmp_path / "run", resume=True)


def test_training_data_must_be_whole(camvid, tmp_path):
    (camvid / "trainannot" / "3.png").unlink()
    with pytest.raises(InputError, match=r"3\.png' has no partner.*1 such files"):
        run(camvid, tmp_path / "run")
    write_png(camvid / "trainannot" / "3.png", torch.zeros(3, 2, 2))
    plan = SegNetRecipe(stages=(Stage(8, 4, (16, 16), (1.0, 1.0)),), holdout=0)
    with pytest.raises(InputError, match=r"2×2 pixels.*take it out of the training folder"):
        run(camvid, tmp_path / "run", plan=plan)


def test_the_shipped_recipe_is_the_default():
    assert list(SegNetRecipe.shipped()) == ["camvid"]
    assert SegNetRecipe.load("camvid") == SegNetRecipe()


def test_the_command(camvid, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "stages: [{steps: 1, batch: 1, size: [16, 16], scale: [0.5, 1.0]}]\nholdout: 0\n"
    )
    args = ["train-segmenter", str(camvid), "--out", str(tmp_path / "run"), "--json"]
    assert main([*args, "--recipe", str(recipe), "--seed", "3", "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)
    _, card = load_segnet(told["segmenter"])
    assert card.training["recipe"]["seed"] == 3
    assert card.metrics == {}
    assert main(["train-segmenter", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def blank(camvid, names):
    for name in names:
        mask = torch.full((3, 40, 48), 11 / 255)
        write_png(camvid / "trainannot" / f"{name}.png", mask)


def test_a_batch_that_is_all_void_is_drawn_anew(camvid, tmp_path):
    blank(camvid, range(4))
    progress = Recorder()
    plan = replace(PLAN, stages=(Stage(12, 1, (16, 16), (0.4, 0.4)),), holdout=0)
    run(camvid, tmp_path / "run", plan=plan, progress=progress)
    losses = [loss for _, _, loss in progress.seen]
    assert len(losses) == 12
    assert all(math.isfinite(loss) for loss in losses)


def test_nothing_but_void_is_told(camvid, tmp_path):
    blank(camvid, range(8))
    with pytest.raises(InputError, match="ten batches in a row are void everywhere"):
        run(camvid, tmp_path / "run")


def test_splits_do_not_depend_on_order(camvid):
    pairs, _ = find_pairs(camvid / "train", camvid / "trainannot")
    used, held = split_pairs(pairs, 0.25)
    assert (used, held) == split_pairs(pairs[::-1], 0.25)
    assert len(held) == 2
    assert not set(used) & set(held)
    for share in (1.0, -0.1):
        with pytest.raises(InputError, match="expected a share"):
            split_pairs(pairs, share)
    with pytest.raises(InputError, match="leaves none"):
        split_pairs(pairs[:1], 0.9)


def test_stages_follow_one_another():
    assert PLAN.steps == 4
    assert [PLAN.stage(step).batch for step in range(4)] == [2, 2, 1, 1]
    with pytest.raises(InputError, match="ends 1 steps before"):
        PLAN.stage(4)
    assert SegNetRecipe().stage(0).size == (144, 192)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((0, 1, (16, 16), (1, 1)), "steps: is 0; expected at least 1"),
        ((1, 1, (8, 16), (1, 1)), "size: is .* at least 16"),
        ((1, 1, (16, 16), (1, 0.5)), "scale: is .* least and greatest"),
    ],
)
def test_stages_that_cannot_be_done(values, named):
    with pytest.raises(InputError, match=named):
        Stage(*values)


def test_all_numbers_of_a_recipe_that_cannot_be_are_named():
    with pytest.raises(InputError, match=r"(?s)lr: is -1.*ema: is 1.*jitter: is 2.*seed: is"):
        SegNetRecipe(lr=-1, ema=1, jitter=2, seed=2**64)


def test_views_keep_image_and_mask_together():
    image = torch.zeros(3, 40, 60)
    image[0, :, 30:] = 1
    mask = torch.zeros(40, 60, dtype=torch.long)
    mask[:, 30:] = 1
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        view, classes = random_view(Sample("x", image, mask), (20, 30), (0.4, 1.0), 0.0, generator)
        assert view.shape == (3, 20, 30)
        assert classes.dtype == torch.long
        assert float(((view[0] > 0.5).long() == classes).float().mean()) > 0.95


def test_views_of_much_enlarged_images_have_a_pixel_at_least():
    sample = Sample("x", torch.rand(3, 20, 30), torch.zeros(20, 30, dtype=torch.long))
    view, _ = random_view(sample, (16, 16), (64, 64), 0.0, torch.Generator().manual_seed(0))
    assert view.shape == (3, 16, 16)
    assert not view.flatten(1).std(1).any()


def test_void_stays_void():
    mask = torch.full((20, 20), IGNORED)
    _, classes = random_view(
        Sample("x", torch.rand(3, 20, 20), mask), (16, 16), (0.5, 0.9), 0.2, torch.Generator()
    )
    assert bool((classes == IGNORED).all())


def test_recoloring_stays_in_range_and_none_changes_nothing():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(min=0.01)
    same = recolor(image, 0.0, torch.Generator())
    torch.testing.assert_close(same, image)
    changed = recolor(image, 0.5, torch.Generator().manual_seed(1))
    assert 0 <= float(changed.min()) < float(changed.max()) <= 1
    assert float((changed - image).abs().max()) > 0.01


def test_norms_take_the_mean_over_the_images():
    network = nn.Sequential(nn.BatchNorm2d(3))
    images = [torch.full((3, 4, 4), value) for value in (0.2, 0.6)]
    settle_norms(network, images)
    assert not network.training
    torch.testing.assert_close(network[0].running_mean, torch.full((3,), 0.4))
    assert network[0].momentum == 0.1


def test_accuracy_leaves_void_out():
    class Sky(nn.Module):
        def forward(self, images):
            return torch.eye(len(CAMVID.names))[:1, :, None, None].expand(-1, -1, 2, 2)

    mask = torch.tensor([[0, 0], [3, IGNORED]])
    share = measure(Sky(), [Sample("x", torch.zeros(3, 2, 2), mask)], torch.device("cpu"))
    assert math.isclose(share, 2 / 3, rel_tol=1e-6)
