"""The training of a purifier's gate."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.core.random import seeded
from nrpurify.purifiers import Gate, load_purifier
from nrpurify.training.adversaries import AdversaryMaker, Pair
from nrpurify.training.adversary_cache import AdversaryCache
from nrpurify.training.gate import GateTrainer, with_norms, without_norms
from nrpurify.training.photos import split_photos

STRONG = {"strength": {"coarse": 2.0, "fine": 1.5}}
GATED = {**STRONG, "gate": {"steps": 3, "batch": 2, "fresh": 0.5, "resize": [40, 60]}}


class Interrupted(Progress):
    def update(self, what, done, total, values=NO_VALUES):
        if what == "gate" and done == 2:
            raise KeyboardInterrupt


def kinds(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["kind"] for line in lines]


def test_it_is_trained_last_and_saved(go, tmp_path):
    file = go("run", **GATED)
    assert kinds(tmp_path / "run")[-5:] == ["validation", *["gate"] * 3, "validation"]
    purifier = load_purifier(file)
    assert purifier.gate is not None
    without = load_file(go("plain", **STRONG))
    tensors = load_file(file)
    assert {k for k in tensors if not k.startswith("gate.")} == set(without)
    assert all(torch.equal(tensors[key], without[key]) for key in without)


@pytest.mark.parametrize("changes", [{"gate": GATED["gate"]}, {**GATED, "gate": {"steps": 0}}])
def test_there_is_none_without_steps_or_strength(go, changes):
    assert load_purifier(go("run", **changes)).gate is None


def test_a_run_that_was_broken_off_in_it_starts_it_anew(go, tmp_path):
    whole = go("whole", **GATED)
    with pytest.raises(KeyboardInterrupt):
        go("cut", **GATED, progress=Interrupted())
    cut = go("cut", **GATED, resume=True)
    assert load_file(whole).keys() == load_file(cut).keys()
    assert all(torch.equal(load_file(whole)[key], value) for key, value in load_file(cut).items())
    before = cut.stat().st_mtime_ns
    go("cut", **GATED, resume=True)
    assert cut.stat().st_mtime_ns == before
    assert kinds(tmp_path / "cut").count("gate") == 3


def test_it_alone_for_a_purifier_that_is_there(go):
    first = go("first", **STRONG)
    gated = load_file(go("second", **GATED | {"steps": 0}, warm_start=first))
    assert all(torch.equal(gated[key], value) for key, value in load_file(first).items())
    assert any(key.startswith("gate.") for key in gated)


@pytest.mark.parametrize(
    ("changes", "warm"),
    [(GATED, False), (STRONG, True), ({"gate": {"steps": 3}}, True)],
)
def test_no_steps_at_all_are_refused(go, changes, warm):
    first = go("first") if warm else None
    with pytest.raises(InputError, match="steps is 0"):
        go("second", **{**changes, "steps": 0}, warm_start=first)


def test_it_needs_the_cache(go):
    with pytest.raises(InputError, match=r"gate\.steps needs the adversary cache"):
        go("run", **GATED, cache={"shards": 0})


def chessboard():
    rows = torch.arange(32)
    return ((rows[:, None] + rows) % 2 * 2 - 1) * 8 / 255


def flat(count, generator):
    colors = torch.rand(count, 3, 1, 1, generator=generator) * 0.8 + 0.1
    return colors.expand(-1, -1, 32, 32)


def test_it_learns_what_is_to_be_strengthened(micro):
    """Here: a chessboard of 8/255; not stripes, which the network is said to know."""
    board = chessboard()
    stripes = (torch.arange(32) // 2 % 2 * 2 - 1).expand(32, 32) * 8 / 255

    def kept(count, strengthen, generator):
        clean = flat(count, generator)
        return Pair(clean, clean + (board if strengthen else stripes))

    plan = {"steps": 30, "batch": 4, "fresh": 0.0, "known": 0.5, "lr": 5e-3}
    recipe = micro.recipe(gate=plan, **STRONG, variation={})
    told = []
    trainer = GateTrainer(recipe, nn.Identity(), kept, flat, torch.device("cpu"))
    gate = trainer.train(lambda step, values: told.append((step, values["loss"])))
    assert [step for step, _ in told] == list(range(1, 31))
    assert told[-1][1] < told[0][1] / 2
    assert not gate.training
    assert not any(weight.requires_grad for weight in gate.parameters())
    clean = flat(6, seeded(7))
    shares = [gate(images, images).mean() for images in (clean, clean + stripes, clean + board)]
    assert shares[0] < 0.2
    assert shares[1] < 0.2
    assert shares[2] > 0.8


def test_caution_is_added_to_the_logits(go):
    images = torch.rand(2, 3, 20, 20)
    logits = [
        load_purifier(
            go(f"run{caution}", **STRONG, gate=GATED["gate"] | {"caution": caution})
        ).gate.logits(images, images)
        for caution in (1.0, 8.0)
    ]
    torch.testing.assert_close(
        logits[1] - logits[0], torch.full((2,), math.log(8)), atol=3e-3, rtol=0
    )


@pytest.mark.parametrize("weight", [0, 1e-9])
def test_a_diet_without_any_kind_to_strengthen_is_refused_at_once(go, tmp_path, weight):
    known = [{"kind": "noise", "strengthen": False}, {"kind": "noise", "weight": weight}]
    with pytest.raises(InputError, match=r"none of the 3 shards .* strengthen true"):
        go("run", **GATED, adversaries=known)
    assert not (tmp_path / "run").exists()
    go("plain", adversaries=known, steps=1)


def test_the_kinds_of_all_shards_are_known_before_one_is_made(micro, photo_folder, tmp_path):
    diet = [{"kind": "noise"}, {"kind": "clean", "strengthen": False}]
    cache = {"shards": 6, "shard_size": 1, "grow_every": 3, "crop": 40}
    recipe = micro.recipe(**GATED, adversaries=diet, cache=cache)
    photos, _ = split_photos(photo_folder, recipe.holdout)
    made = AdversaryCache(AdversaryMaker(recipe, photos, torch.device("cpu")), tmp_path)
    kinds = made.kinds()
    while len(made) < made.count(recipe.steps):
        made.add_shard()
    assert [kind.strengthen for kind in kinds] == made._strengthened
    assert len(set(made._strengthened)) == 2


def test_the_callers_generator_is_left_as_it_was(micro):
    before = torch.get_rng_state()
    first, second = (
        GateTrainer(micro.recipe(), nn.Identity(), None, None, torch.device("cpu")).gate
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.last.weight, second.last.weight)


def test_norms_are_taken_into_the_convolutions():
    torch.manual_seed(0)
    normed = with_norms(Gate().features)
    for _ in range(3):
        normed(torch.randn(4, 24, 8, 8) * 2 + 1)
    plain = without_norms(normed.eval())
    assert not [layer for layer in plain if isinstance(layer, nn.BatchNorm2d)]
    images = torch.randn(2, 24, 9, 7)
    torch.testing.assert_close(plain(images), normed(images))
    Gate().features.load_state_dict(plain.state_dict())
