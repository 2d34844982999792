import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nrpurify.attacks import cda, load_generator
from nrpurify.attacks.generator import GeneratorNet
from nrpurify.attacks.trained import GENERATOR, save_generator
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.random import seeded
from nrpurify.purifiers import Card
from nrpurify.training.adversaries import AdversaryMaker
from nrpurify.training.adversary_cache import AdversaryCache
from nrpurify.training.photos import split_photos

CPU = torch.device("cpu")
EPS = 16 / 255


@pytest.fixture
def maker(micro, photo_folder):
    def make(**changes):
        return AdversaryMaker(micro.recipe(**changes), split_photos(photo_folder, 0)[0], CPU)

    return make


def first(generator):
    return int(torch.randint(2**62, (), generator=generator))


def test_seeded_is_a_function_of_all_its_numbers():
    assert first(seeded(1, 2, 3)) == first(seeded(1, 2, 3))
    keys = [(a, b, *c) for a in range(4) for b in range(4) for c in ((), (0,), (1,), (2,))]
    assert len({first(seeded(*key)) for key in keys}) == len(keys)


def test_neighboring_seeds_are_uncorrelated():
    draws = torch.stack([torch.randn(500, generator=seeded(0, 2, step)) for step in range(20)])
    assert torch.corrcoef(draws).fill_diagonal_(0).abs().max() < 0.25


def test_adversaries_keep_the_budget_and_say_what_they_are(maker):
    pair, settings = maker().make(3, 32, seeded(0))
    assert pair.clean.shape == pair.adversarial.shape == (3, 3, 32, 32)
    delta = (pair.adversarial - pair.clean).abs()
    assert delta.max() <= EPS + 1e-6
    assert delta.amax((1, 2, 3)).min() > EPS / 4
    assert settings["network"] == "vgg16"
    assert settings["layer"] == "conv3_3"
    assert settings["goal"] == "away"
    assert settings["steps"] in (2, 3)


@pytest.mark.parametrize("goal", ["away", "toward", "along", "against", "switch"])
def test_every_goal_moves_features(maker, micro, goal):
    kind = {"goals": {goal: 1.0}, "steps": [4, 4]}
    pair, settings = maker(adversaries=[kind]).make(2, 32, seeded(1))
    assert settings["goal"] == goal
    extractor = micro.tiny_extractor()
    moved = (extractor(pair.adversarial)[0] - extractor(pair.clean)[0]).abs().mean()
    assert moved > 0.02


def test_toward_goes_to_another_crops_features(maker, micro):
    kind = {"goals": {"toward": 1.0}, "steps": [20, 20], "starts": ["clean"]}
    pair, _ = maker(adversaries=[kind]).make(2, 32, seeded(1))
    extractor = micro.tiny_extractor()
    target = extractor(pair.clean.roll(1, 0))[0]
    before, after = ((extractor(x)[0] - target).abs().mean() for x in pair)
    assert after < before


@pytest.mark.parametrize("change", ["momentum", "diversity", "smoothing"])
def test_probabilities_switch_the_relatives_of_ssp_on(maker, change):
    for share, wanted in ((0.0, False), (1.0, True)):
        _, settings = maker(adversaries=[{change: share}]).make(1, 32, seeded(2))
        assert bool(settings[change]) is wanted


def test_kinds_layers_and_settings_are_all_drawn(maker):
    kinds = [
        {"weight": 3, "layers": ["conv1", "relu2"], "distances": ["mae", "mse"], "steps": [1, 2]},
        {"weight": 1, "network": "alexnet", "steps": [1, 1], "step_sizes": [0.02, 0.03]},
        {"weight": 0, "network": "never"},
    ]  # fmt: skip
    source = maker(adversaries=kinds)
    drawn = [source.make(1, 32, seeded(3, k))[1] for k in range(60)]
    networks = [settings["network"] for settings in drawn]
    assert set(networks) == {"vgg16", "alexnet"}
    assert networks.count("vgg16") > networks.count("alexnet")
    vgg = [s for s in drawn if s["network"] == "vgg16"]
    assert {s["layer"] for s in vgg} == {"conv1", "relu2"}
    assert {s["distance"] for s in vgg} == {"mae", "mse"}
    assert {s["steps"] for s in vgg} == {1, 2}
    assert {s["step_size"] for s in drawn if s["network"] == "alexnet"} == {0.02, 0.03}
    assert len(source._extractors) == 3  # each built once


class Linear(torch.nn.Module):
    """Classifies by the mean of each channel, or by an offset of it; takes any size."""

    def __init__(self, offset=0.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([9.0, 0.0, -9.0]))
        self.offset, self.input_size, self.seen = offset, 224, set()

    def forward(self, images):
        self.seen.add(tuple(images.shape[2:]))
        return (images.mean((2, 3)) + self.offset) * self.scale


@pytest.fixture
def linear(monkeypatch):
    models = {"a": Linear(), "b": Linear(0.2)}
    monkeypatch.setattr("nrpurify.models.load_classifier", lambda name, device: models[name])
    return models


@pytest.mark.parametrize("networks", [["a"], ["a", "b"]])
def test_classifiers_are_led_away_from_their_own_prediction(maker, linear, networks):
    kind = {"kind": "classifier", "networks": networks, "starts": ["clean"], "momentum": 1}
    source = maker(adversaries=[{**kind, "steps": [3, 3]}])
    pair, settings = source.make(2, 40, seeded(0))
    assert settings["kind"] == "classifier"
    assert settings["networks"] == tuple(networks)
    assert (settings["steps"], settings["momentum"], settings["smoothing"]) == (3, 1.0, 0)
    delta = (pair.adversarial - pair.clean).abs()
    assert delta.max() <= EPS + 1e-6
    for name in networks:
        before, after = (linear[name](crops).detach() for crops in pair)
        label = before.argmax(1)
        losses = [
            torch.nn.functional.cross_entropy(x, label, reduction="none") for x in (before, after)
        ]
        assert (losses[1] > losses[0]).all()
        assert linear[name].seen == {(40, 40)}, "crops keep their size"
        assert linear[name].scale.requires_grad, "the surrogate is left as it was"


def test_diversity_resizes_what_a_classifier_sees(maker, linear):
    kind = {"kind": "classifier", "networks": ["a"], "diversity": 1, "smoothing": 1}
    _, settings = maker(adversaries=[kind]).make(2, 40, seeded(0))
    assert (settings["diversity"], settings["smoothing"], settings["momentum"]) == (0.7, 15, 0.0)
    assert len(linear["a"].seen) > 1


def filled(maker, folder, order, **changes):
    cache = AdversaryCache(maker(**changes), folder)
    for index in order:
        cache._write(index)
    return [cache.path(index).read_bytes() for index in sorted(order)]


def test_a_shard_is_a_function_of_recipe_and_index_alone(maker, tmp_path):
    forward = filled(maker, tmp_path / "a", [0, 1, 2])
    assert filled(maker, tmp_path / "b", [2, 0, 1]) == forward
    assert len(set(forward)) == 3
    assert filled(maker, tmp_path / "c", [0], seed=1)[0] != forward[0]


def test_shards_are_kept_and_not_made_again(maker, tmp_path, monkeypatch):
    first = AdversaryCache(maker(), tmp_path)
    first.add_shard()
    monkeypatch.setattr(AdversaryMaker, "make", lambda *args: pytest.fail("made again"))
    again = AdversaryCache(maker(), tmp_path)
    again.add_shard()
    assert len(again) == 1
    assert torch.equal(again._shards[0].adversarial, first._shards[0].adversarial)
    assert again._shards[0].clean.shape == (2, 3, 40, 40)
    assert again._shards[0].clean.dtype == torch.uint8
    with safe_open(first.path(0), "pt") as file:
        assert '"goal": "away"' in file.metadata()["settings"]


def test_settings_of_a_shard_that_are_no_object_are_an_error(maker, tmp_path):
    cache = AdversaryCache(maker(), tmp_path)
    cache.add_shard()
    with safe_open(cache.path(0), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in ("clean", "adversarial")}
    save_file(tensors, cache.path(0), metadata={"settings": "[1]"})
    with pytest.raises(WeightsError, match=r"shard-00000.* expected a JSON object"):
        AdversaryCache(maker(), tmp_path).add_shard()


def test_kinds_that_need_no_strength_are_drawn_apart(maker, tmp_path):
    kinds = [{"kind": "noise"}, {"kind": "clean", "strengthen": False}]
    cache = AdversaryCache(maker(adversaries=kinds, cache={"shards": 8}), tmp_path)
    while len(cache) < 8:
        cache.add_shard()
    assert cache.has_known()
    for strengthen in (True, False):
        pair = cache.draw_kind(6, seeded(0), strengthen=strengthen)
        assert len(pair.clean) == 6
        touched = (pair.adversarial != pair.clean).flatten(1).any(1)
        assert touched.tolist() == [strengthen] * 6


def test_what_no_kind_is_cannot_be_drawn(maker, tmp_path):
    cache = AdversaryCache(maker(), tmp_path)
    cache.add_shard()
    assert not cache.has_known()
    with pytest.raises(InputError, match=r"no adversary in .* has strengthen false"):
        cache.draw_kind(1, seeded(0), strengthen=False)


def test_an_interrupted_shard_leaves_nothing(maker, tmp_path, monkeypatch):
    cache = AdversaryCache(maker(), tmp_path)

    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("nrpurify.training.adversary_cache.save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        cache.add_shard()
    assert list(tmp_path.glob("*.safetensors")) == []
    assert list(tmp_path.glob(".*")) == []
    assert len(cache) == 0


def test_count_grows_with_the_steps(maker, tmp_path):
    growing = AdversaryCache(maker(cache={"shards": 2, "grow_every": 3}, steps=40), tmp_path)
    assert [growing.count(step) for step in (0, 2, 3, 6)] == [2, 2, 3, 4]
    fixed = AdversaryCache(maker(cache={"shards": 2}, steps=2000), tmp_path)
    assert fixed.count(1000) == 2
    fresh = AdversaryCache(maker(cache={"shards": 0, "grow_every": 3}), tmp_path)
    assert fresh.count(1000) == 0  # fresh adversaries each step: nothing is kept


def test_draws_see_only_the_shards_of_their_step(maker, tmp_path):
    cache = AdversaryCache(maker(), tmp_path)
    cache.add_shard()
    early = cache.draw(5, 0, seeded(0))
    cache.add_shard()
    again = cache.draw(5, 0, seeded(0))  # one shard at step 0, whatever is loaded
    assert torch.equal(early.clean, again.clean)
    assert torch.equal(early.adversarial, again.adversarial)
    assert early.clean.dtype == torch.float32
    assert (early.adversarial - early.clean).abs().max() <= EPS + 1e-6
    late = cache.draw(20, 3, seeded(0))
    assert not {tuple(x.flatten()[:9].tolist()) for x in late.clean} <= {
        tuple(x.flatten()[:9].tolist()) for x in early.clean
    }


def test_a_generators_adversaries(maker, tmp_path):
    network = GeneratorNet(1, 4)
    file = tmp_path / "generator.safetensors"
    save_generator(network, file, Card("cda", GENERATOR, {"blocks": 1, "width": 4}, {}, {}))
    make = maker(adversaries=[{"kind": "cda", "network": str(file)}]).make
    (clean, adversarial), settings = make(2, 32, seeded(0))
    assert settings["kind"] == "cda"
    torch.testing.assert_close(adversarial, cda(load_generator(file), clean, eps=EPS))
    assert not torch.equal(adversarial, clean)
    with pytest.raises(InputError, match="no trained attack 'vgg16'"):
        maker(adversaries=[{"kind": "cda"}]).make(2, 32, seeded(0))


def test_no_more_shards_than_the_steps_have_crops_for(maker, tmp_path):
    cache = {"shards": 120, "shard_size": 16, "grow_every": 1, "crop": 40}
    strong = {"strength": {"coarse": 2, "fine": 2}, "gate": {"steps": 20, "batch": 4}}
    counts = {
        (steps, step): AdversaryCache(
            maker(cache=cache, steps=steps, batch=8, **strong), tmp_path
        ).count(step)
        for steps, step in ((3, 0), (3, 2), (3, 3), (0, 0), (1000, 5))
    }
    # 3 steps of 8 crops, with 20 of 4 for the gate behind them
    assert counts == {(3, 0): 2, (3, 2): 2, (3, 3): 7, (0, 0): 5, (1000, 5): 125}
