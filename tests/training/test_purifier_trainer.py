import pytest
import torch

from nrpurify.core.config import RecipeError
from nrpurify.core.errors import InputError
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.models.features import feature_extractor
from nrpurify.purifiers import Card, Design, Purifier, build_purifier, load_purifier
from nrpurify.training.losses import purifier_loss
from nrpurify.training.photos import split_photos
from nrpurify.training.purifier_trainer import PurifierTrainer, scores_without_weight_gradients

CPU = torch.device("cpu")
GAN = {"pixel": 10, "pixel_norm": "l1", "adversarial": 0.05}


@pytest.fixture
def trainer(micro, photo_folder, tmp_path):
    def make(folder="run", threads=0, **changes):
        photos, _ = split_photos(photo_folder, 0.3)
        recipe = micro.recipe(**changes)
        return PurifierTrainer(recipe, photos, tmp_path / folder, CPU, loader_threads=threads)

    return make


def weights(trainer):
    return {name: value.clone() for name, value in trainer.purifier.network.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_loss_falls(trainer):
    fast = {"lr": 2e-3, "warmup": 0, "amp": False, "schedule": "cosine"}
    variation = {"flip": False}
    cache = {"shards": 1, "shard_size": 2, "crop": 32}
    run = trainer(steps=25, batch=2, optimization=fast, variation=variation, cache=cache)
    values = [run.train_step() for _ in range(25)]
    losses = [value["loss"] for value in values]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(value["gradient_norm"] > 0 for value in values)
    assert values[0]["lr"] == pytest.approx(2e-3)
    assert run.step == 25


def test_reported_losses_are_weighted_and_add_up(trainer):
    values = trainer(losses=GAN).train_step()
    parts = values["feature"] + values["pixel"] + values["adversarial"]
    assert values["loss"] == pytest.approx(parts, rel=1e-4)
    assert set(values) == {
        "loss", "feature", "pixel", "adversarial", "critic", "gradient_norm", "lr",
    }  # fmt: skip
    assert set(trainer().train_step()) == {"loss", "feature", "pixel", "gradient_norm", "lr"}


@pytest.mark.parametrize(
    ("gan", "batches"), [("relativistic", "joint"), ("vanilla", "joint"), ("eq7", "separate")]
)
def test_the_discriminator_learns_beside_the_purifier(trainer, gan, batches):
    run = trainer(losses={**GAN, "gan": gan, "critic_batches": batches})
    before = {name: value.clone() for name, value in run.discriminator.state_dict().items()}
    purifier_before = weights(run)
    values = run.train_step()
    assert not same(before, run.discriminator.state_dict())
    assert not same(purifier_before, weights(run))
    assert values["critic"] > 0
    assert all(p.requires_grad for p in run.discriminator.parameters())


def test_purifier_loss_leaves_no_gradient_in_the_discriminator(trainer, images):
    run = trainer(losses=GAN)
    crops = torch.rand(2, 3, 32, 32)
    purified = run.network(crops)
    scores = scores_without_weight_gradients(run.pair_discriminator, purified, crops)
    purifier_loss("relativistic", *scores).backward()
    assert all(p.grad is None for p in run.discriminator.parameters())
    assert any(p.grad is not None for p in run.network.parameters())


def test_adversarial_loss_waits_for_its_first_step(trainer):
    run = trainer(losses={**GAN, "adversarial_from": 1})
    assert "adversarial" not in run.train_step()
    assert "adversarial" in run.train_step()


@pytest.mark.parametrize(
    ("losses", "silent"),
    [
        ({"features": [], "pixel": 10, "adversarial": 0}, "feature"),
        ({"pixel": 0, "adversarial": 0}, "pixel"),
    ],
)
def test_ablations(trainer, losses, silent):
    run = trainer(losses=losses)
    before = weights(run)
    values = run.train_step()
    assert values[silent] == 0
    assert values["loss"] > 0
    assert not same(before, weights(run))


def test_the_late_pixel_weight_is_the_one_that_trains(trainer):
    losses = {"features": [], "pixel": 1, "pixel_late": 0, "pixel_late_from": 1, "adversarial": 0}
    run = trainer(losses=losses)
    assert run.train_step()["pixel"] > 0
    assert run.train_step()["pixel"] == 0


@pytest.mark.parametrize("norm", ["l1", "mse", "l2"])
def test_pixel_norms(trainer, norm):
    losses = {"features": [], "pixel": 1, "pixel_norm": norm, "adversarial": 0}
    assert trainer(losses=losses).train_step()["pixel"] > 0


def test_bf16_is_near_fp32(trainer):
    exact = trainer().train_step()["loss"]
    optimization = {"lr": 1e-3, "warmup": 2, "clip": 1.0, "amp": True}
    assert trainer("bf16", optimization=optimization).train_step()["loss"] == pytest.approx(
        exact, rel=0.2
    )


def test_no_cache_makes_fresh_adversaries(trainer, tmp_path):
    run = trainer(cache={"shards": 0})
    first, second = run._batch(), run._batch()
    assert first.clean.shape == (2, 3, 32, 32)
    assert torch.equal(first.clean, second.clean)  # the same step
    run.train_step()
    assert not torch.equal(run._batch().clean, first.clean)
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_threads_that_read_ahead_change_nothing(trainer):
    changes = {"cache": {"shards": 0}, "adversaries": [{"kind": "noise"}, {"steps": [1, 1]}]}
    plain, ahead = trainer(**changes), trainer("ahead", threads=2, **changes)
    for _ in range(4):
        assert plain.train_step() == ahead.train_step()
    ahead.load_state({**ahead.state(), "step": 1})
    plain.step = 1
    assert torch.equal(plain._batch().adversarial, ahead._batch().adversarial)
    ahead.crops.close()


def test_cache_grows_with_the_steps(trainer):
    run = trainer()
    seen = []

    class Watcher(Progress):
        def update(self, what, done, total, values=NO_VALUES):
            seen.append((done, total))

    run.fill_cache(Watcher())
    for _ in range(4):
        run.train_step()
    assert seen == [(1, 1)]
    assert len(run.cache) == 2


def test_average_without_decay_is_the_network(trainer):
    run = trainer(optimization={"lr": 1e-3, "amp": False})
    run.train_step()
    assert same(weights(run), run.average.state_dict())
    averaged = trainer("ema")
    start = weights(averaged)
    averaged.train_step()
    assert not same(weights(averaged), averaged.average.state_dict())
    for name, value in averaged.average.state_dict().items():
        expected = 0.1 * start[name] + 0.9 * weights(averaged)[name]
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)


def test_gradient_is_clipped(trainer, monkeypatch):
    limits = []
    clip = torch.nn.utils.clip_grad_norm_

    def watched(parameters, limit):
        limits.append(limit)
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    trainer(losses=GAN).train_step()
    assert limits == [1.0, float("inf")]


def test_a_loss_that_is_no_number_stops_before_the_weights_move(trainer):
    run = trainer()
    with torch.no_grad():
        run.purifier.network.tail.bias.fill_(float("nan"))
    before = run.purifier.network.head.weight.clone()
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        run.train_step()
    assert torch.equal(run.purifier.network.head.weight, before)


def test_a_gradient_that_is_no_number_stops_before_the_weights_move(trainer):
    run = trainer()
    head = run.purifier.network.head.weight
    head.register_hook(lambda gradient: gradient * float("inf"))
    before = weights(run)
    with pytest.raises(FloatingPointError, match=r"the gradient's norm is (nan|inf) at step 0"):
        run.train_step()
    assert same(before, weights(run))


def test_state_goes_on_exactly(trainer):
    whole = trainer(losses=GAN)
    for _ in range(4):
        whole.train_step()
    first = trainer("other", losses=GAN)
    for _ in range(2):
        first.train_step()
    second = trainer("other", losses=GAN)
    torch.rand(100)  # no part of a run may hang on the global generator
    second.load_state(first.state())
    for _ in range(2):
        second.train_step()
    assert second.step == 4
    assert same(weights(whole), weights(second))
    assert same(whole.average.state_dict(), second.average.state_dict())
    assert same(whole.discriminator.state_dict(), second.discriminator.state_dict())


@pytest.mark.parametrize("kind", ["features", "noise"])
def test_the_callers_generator_is_left_as_it_was(trainer, kind):
    before = torch.get_rng_state()
    run = trainer(losses=GAN, adversaries=[{"kind": kind}])
    run.train_step()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_gives_the_same_weights_whatever_was_drawn_before(trainer):
    first = trainer(losses=GAN)
    torch.rand(7)
    second = trainer("other", losses=GAN)
    assert same(weights(first), weights(second))
    assert same(first.discriminator.state_dict(), second.discriminator.state_dict())
    torch.manual_seed(0)
    assert same(weights(first), build_purifier("micro").network.state_dict())
    assert not same(weights(first), weights(trainer("third", losses=GAN, seed=1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversaries": [{}, {"layers": ["conv3_3", "conv9_9"]}]}, r"adversaries\.1: no layer"),
        ({"adversaries": [{"network": "vgg61"}]}, r"adversaries\.0: there is no network 'vgg61'"),
        (
            {"adversaries": [{"kind": "classifier", "networks": ["mobilenet_v1_025", "resmet"]}]},
            r"adversaries\.0: .*'resmet'",
        ),
        ({"adversaries": [{"kind": "fgsm", "network": "resmet"}]}, r"adversaries\.0: .*'resmet'"),
        ({"adversaries": [{"kind": "cda", "network": "none"}]}, r"adversaries\.0: .*none"),
        (
            {"joint": {"share": 0.5, "adversaries": [{"layers": ["conv9_9"]}]}},
            r"joint\.adversaries\.0: no layer 'conv9_9'",
        ),
    ],
)
def test_networks_and_layers_that_do_not_exist_are_refused_at_once(
    trainer, monkeypatch, tmp_path, changes, message
):
    monkeypatch.setattr("nrpurify.training.adversaries.feature_extractor", feature_extractor)
    with pytest.raises(InputError, match=message):
        trainer(**changes)
    assert not (tmp_path / "run").exists()


def test_what_is_never_drawn_is_not_looked_for(trainer, monkeypatch):
    monkeypatch.setattr("nrpurify.training.adversaries.feature_extractor", feature_extractor)
    wrong = {"layers": ["conv9_9"]}
    trainer(
        adversaries=[{"kind": "noise", **wrong}, {"weight": 0, **wrong}],
        joint={"share": 0, "adversaries": [wrong]},
    )


def test_warm_start_sets_network_and_average(trainer):
    torch.manual_seed(5)
    other = build_purifier("micro")
    run = trainer()
    run.start_from(other)
    assert same(other.network.state_dict(), weights(run))
    assert same(other.network.state_dict(), run.average.state_dict())


def test_saved_purifier_is_the_average(trainer, tmp_path, images):
    run = trainer()
    run.train_step()
    card = run.save(tmp_path / "p.safetensors", {"data": "photos"}, {"psnr": 30.0})
    loaded = load_purifier(tmp_path / "p.safetensors")
    assert loaded.card == card
    assert (card.training, card.metrics) == ({"data": "photos"}, {"psnr": 30.0})
    expected = Purifier(run.average, Card("x", "unshuffle-unet"))(images)
    torch.testing.assert_close(loaded(images), expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(run.averaged()(images), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 36}, "crop is 36; micro takes multiples of 16"),
        ({"cache": {"shards": 1, "crop": 16}}, r"cache\.crop is 16; expected at least 32"),
        (
            {"crop": 48, "losses": {"adversarial": 1}, "cache": {}},
            "side 48; the discriminator takes",
        ),
        ({"purifier": "none"}, "no purifier design 'none'"),
    ],
)
def test_recipes_that_do_not_fit_together(trainer, changes, message):
    with pytest.raises(InputError, match=message):
        trainer(**changes)


def test_micro_takes_multiples_of_16():
    assert (
        Design("unshuffle-unet", {"widths": [48, 64, 96], "blocks": [1, 1, 1]}).build().multiple
        == 16
    )


JOINT = {
    "share": 1,
    "eps": ["2/255", "4/255"],
    "adversaries": [{"steps": [2, 2], "step_sizes": ["2/255"]}],
}


def test_joint_adversaries_are_made_through_the_purifier_as_it_is(trainer, monkeypatch):
    run = trainer(joint=JOINT)
    seen = []

    def watched(purifier, clean, generator):
        attacked = type(run.maker).make_through(run.maker, purifier, clean, generator)
        seen.append((purifier, clean, attacked, weights(run)))
        return attacked

    monkeypatch.setattr(run.maker, "make_through", watched)
    before = weights(run)
    run.train_step()
    run.train_step()
    for _, clean, attacked, _ in seen:
        assert 0 < (attacked - clean).abs().max() <= 4 / 255 + 1e-6
        assert attacked.min() >= 0
        assert attacked.max() <= 1
    assert [purifier is run.purifier for purifier, *_ in seen] == [True, True]
    assert same(before, seen[0][3])
    assert not same(before, seen[1][3]), "the second attack is on the updated purifier"
    assert all(weight.requires_grad for weight in run.purifier.network.parameters())


def test_a_joint_attack_hurts_purified_features_more_than_a_blind_one(trainer):
    run = trainer(joint=JOINT, variation={"flip": False})
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():  # a purifier that takes away most of its input's detail
        for weight in run.purifier.network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=noise))
    clean = torch.rand(2, 3, 32, 32, generator=noise)
    extractor = run.maker._extractor("vgg16", "conv3_3")

    def distance(attacked):
        features = [extractor(run.purifier(images))[0] for images in (attacked, clean)]
        return float((features[0] - features[1]).abs().mean().detach())

    through = run.maker.make_through(run.purifier, clean, torch.Generator().manual_seed(1))
    blind = run.maker.make_through(torch.nn.Identity(), clean, torch.Generator().manual_seed(1))
    assert distance(through) > distance(blind)


def test_without_a_joint_share_nothing_is_drawn_for_it(trainer):
    assert same_steps(trainer(folder="a"), trainer(folder="b", joint={**JOINT, "share": 0}))


def same_steps(first, second):
    return [first.train_step() for _ in range(3)] == [second.train_step() for _ in range(3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batch": 1, "losses": {"adversarial": 0.1, "critic_batches": "separate"}},
            "batch: is 1; expected at least 2 crops with critic_batches 'separate'",
        ),
        (
            {"cache": {"shard_size": 1}, "adversaries": [{"goals": {"away": 1, "switch": 1}}]},
            "cache.shard_size: is 1; expected at least 2 crops with the goal 'switch'",
        ),
    ],
)
def test_one_crop_where_two_are_needed(micro, changes, message):
    with pytest.raises(RecipeError, match=message):
        micro.recipe(**changes)


@pytest.mark.parametrize("kind", ["noise", "cda", "clean"])
def test_joint_adversaries_need_gradients(micro, kind):
    with pytest.raises(
        RecipeError, match=r"joint.adversaries.0.kind: is '\w+'; expected 'features'"
    ):
        micro.recipe(joint={**JOINT, "adversaries": [{"kind": kind}]})
