import inspect
from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nrpurify.attacks import SSP, SelfSupervisedPerturbation, get, ssp
from nrpurify.attacks.runner import AttackRunner
from nrpurify.core.errors import GradientWarning, InputError
from nrpurify.models.feature_distances import feature_distance
from nrpurify.models.features import FeatureExtractor

gradient_attack = import_module("nrpurify.attacks.gradient_attack")
module = import_module("nrpurify.attacks.ssp")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gray(count=2, side=6):
    """Images so far from 0 and 1 that a box of 16/255 is cut by neither."""
    return 0.2 + 0.6 * torch.rand(count, 3, side, side, generator=seeded(5))


def linear_extractor(weight, groups=1):
    conv = nn.Conv2d(3, weight.shape[0], 1, groups=groups)
    conv.weight.data = weight[..., None, None].clone()
    return FeatureExtractor(nn.Sequential(conv), "0")


# --- closed form -----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "authors"])
@pytest.mark.parametrize(("distance", "power"), [("mae", 1), ("mse", 2), ("wasserstein", 1)])
def test_one_linear_feature_reaches_eps_times_the_norm(preset, distance, power):
    weight, eps = torch.tensor([[0.7, -1.3, 0.2]]), 16 / 255
    extractor = linear_extractor(weight)
    clean = gray()
    start = (
        "uniform"
        if distance != "wasserstein"
        else lambda x, e, g: x + e * weight.sign().view(1, 3, 1, 1)
    )
    found = ssp(
        extractor, clean, eps=eps, preset=preset, distance=distance, start=start,
        generator=seeded(),
    )  # fmt: skip
    value = feature_distance(extractor(found), extractor(clean), distance)
    best = (eps * weight.abs().sum()) ** power
    torch.testing.assert_close(value, best.expand(2), rtol=0.01, atol=0)
    delta = found - clean
    sign = (delta[:, :1] * weight[0, 0]).sign()
    torch.testing.assert_close(
        delta, sign * eps * weight.sign().view(1, 3, 1, 1), atol=1e-5, rtol=0
    )


def test_separate_linear_features_reach_their_mean_optimum():
    weight, eps = torch.tensor([[2.0], [-0.5], [1.0]]), 8 / 255
    extractor, clean = linear_extractor(weight, groups=3), gray()
    found = ssp(extractor, clean, eps=eps, generator=seeded())
    value = feature_distance(extractor(found), extractor(clean))
    torch.testing.assert_close(value, (eps * weight.abs().mean()).expand(2), rtol=0.01, atol=0)


@pytest.mark.parametrize("diversity", [0.0, 0.7])
def test_each_image_has_its_own_draws(extractor, images, diversity):
    options = {"steps": 3, "diversity": diversity}
    both = ssp(extractor, images[:2], generator=[seeded(1), seeded(2)], **options)
    alone = [
        ssp(extractor, image[None], generator=[seeded(seed)], **options)
        for image, seed in zip(images[:2], (1, 2), strict=True)
    ]
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="1 generators for 2 images"):
        ssp(extractor, images[:2], generator=[seeded()])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"diversity": 3.0}, "diversity is 3.0; expected a probability"),
        ({"momentum": -1.0}, "momentum is -1.0; expected 0 or more"),
        ({"smoothing": 4}, "smoothing is 4; expected 0 or an odd number"),
    ],
)
def test_settings_out_of_range_are_refused(extractor, images, changes, text):
    with pytest.raises(InputError, match=text):
        ssp(extractor, images, **changes)


def test_from_the_clean_image_the_gradient_is_zero(extractor, images):
    with pytest.warns(GradientWarning, match="zero everywhere, at 9 steps"):
        assert torch.equal(ssp(extractor, images, start="clean", steps=3), images)


# --- properties ------------------------------------------------------------------------------


@given(
    eps=st.floats(1 / 255, 1),
    start=st.sampled_from(["uniform", "gaussian"]),
    distance=st.sampled_from(["mae", "mse", "cosine", "wasserstein"]),
    switches=st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 0.7])),
    smoothing=st.sampled_from([0, 5]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=30)
def test_result_is_in_the_box_and_farther_away(eps, start, distance, switches, smoothing, seed):
    torch.manual_seed(0)
    extractor = FeatureExtractor(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), "1")
    images = torch.rand(2, 3, 9, 8, generator=seeded(seed))
    before = images.clone()
    arguments = {
        "eps": eps, "start": start, "distance": distance, "steps": 4, "step_size": min(eps, 0.05),
        "momentum": switches[0], "diversity": switches[1], "smoothing": smoothing,
    }  # fmt: skip
    found = ssp(extractor, images, **arguments, generator=seeded(seed))
    assert (found - images).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(images, before)
    assert (feature_distance(extractor(found), extractor(images), distance) > 0).all()
    assert torch.equal(ssp(extractor, images, **arguments, generator=seeded(seed)), found)


@pytest.mark.parametrize("distance", ["mae", "mse", "cosine", "wasserstein"])
@pytest.mark.parametrize("changes", [{}, {"momentum": 1.0, "smoothing": 5}])
def test_groups_of_one_size_make_the_number_of_images_immaterial(distance, changes):
    torch.manual_seed(1)
    deep = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1),
    )  # fmt: skip
    extractor = FeatureExtractor(deep, ("3", "5"))
    images = torch.rand(4, 3, 24, 30)
    arguments = {"steps": 15, "distance": distance, **changes}

    def perturb(part, _, generators):
        return ssp(extractor, part, generator=generators, **arguments)

    attack = AttackRunner(perturb, extractor, group=3, seed=1)
    together = attack(images)
    apart = [attack(image[None]) for image in images]
    assert torch.equal(together, torch.cat(apart))


def test_eps_per_sample_equals_separate_runs(extractor, images):
    eps = torch.tensor([4 / 255, 8 / 255, 16 / 255])
    together = ssp(extractor, images, eps=eps, steps=10, generator=seeded())
    generator = seeded()
    apart = [
        ssp(extractor, image[None], eps=float(e), steps=10, generator=generator)
        for image, e in zip(images, eps, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-6)


def test_seeds_matter(extractor, images):
    assert not torch.equal(
        ssp(extractor, images, steps=1, generator=seeded(0)),
        ssp(extractor, images, steps=1, generator=seeded(1)),
    )


def test_labels_change_nothing(extractor, images):
    with_labels = ssp(extractor, images, torch.arange(3), steps=2, generator=seeded())
    assert torch.equal(with_labels, ssp(extractor, images, steps=2, generator=seeded()))


def test_weights_and_modes_are_untouched(body, extractor, images):
    state = {name: value.clone() for name, value in body.state_dict().items()}
    images.requires_grad_(True)
    found = ssp(extractor, images, steps=2)
    assert not found.requires_grad
    assert images.grad is None
    assert images.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in body.parameters())
    assert all(torch.equal(value, state[name]) for name, value in body.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_of_the_images_is_kept(extractor, images, dtype):
    found = ssp(extractor, images.to(dtype), steps=3, generator=seeded())
    assert found.dtype == dtype
    assert (found - images).abs().max() <= 16 / 255 + 1e-6
    doubled = ssp(extractor.double(), images.double(), steps=3, generator=seeded())
    assert doubled.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("changes", [{}, {"start": "gaussian", "momentum": 1.0, "smoothing": 5}])
def test_half_precision_images_keep_dtype_and_budget(extractor, images, dtype, changes):
    half = images.to(dtype)
    found = ssp(extractor, half, steps=4, generator=seeded(), **changes)
    assert found.dtype == dtype
    delta = (found.float() - half.float()).abs()
    assert 12 / 255 < delta.max() <= 16 / 255 + 1e-6
    assert 0 <= found.min() <= found.max() <= 1


def test_bf16_attacks_as_well(extractor, images):
    scores = {
        amp: feature_distance(
            extractor(ssp(extractor, images, steps=10, amp=amp, generator=seeded())),
            extractor(images),
        ).mean()
        for amp in (True, False)
    }
    assert scores[True] > 0.9 * scores[False]


def test_more_steps_go_farther_and_the_callback_counts_them(extractor, images):
    seen = []
    ssp(extractor, images, steps=12, generator=seeded(), callback=lambda *call: seen.append(call))
    assert [step for step, _ in seen] == list(range(1, 13))
    assert (seen[-1][1] > 1.5 * seen[0][1]).all()


# --- switches and settings -------------------------------------------------------------------

PINNED = {
    "paper": {"layer": "conv3_3", "distance": "mae", "start": "uniform", "steps": 100,
              "step_size": 0.01, "momentum": 0.0, "diversity": 0.0, "smoothing": 0},
    "authors": {"layer": "relu3_3", "distance": "mse", "start": "gaussian", "steps": 100,
                "step_size": 0.01, "momentum": 0.0, "diversity": 0.0, "smoothing": 0},
}  # fmt: skip


def test_presets_are_pinned():
    assert get("ssp").presets == PINNED
    defaults = {n: p.default for n, p in inspect.signature(ssp).parameters.items()}
    assert defaults["eps"] == 16 / 255
    assert defaults["preset"] == "paper"
    assert defaults["amp"] is False


def test_settings_override_the_preset():
    found = SelfSupervisedPerturbation.create("authors", steps=3, distance=None)
    assert found.in_force() == {**PINNED["authors"], "steps": 3}
    with pytest.raises(InputError, match=r"no preset 'fast'; expected one of paper, authors"):
        SelfSupervisedPerturbation.create("fast")


def record(monkeypatch):
    calls = {}

    def fake(images, objective, **arguments):
        calls.update(arguments)
        return images

    monkeypatch.setattr(gradient_attack, "sign_gradient_ascent", fake)
    return calls


def test_switches_reach_the_loop(monkeypatch, extractor, images):
    calls = record(monkeypatch)
    ssp(extractor, images, generator=seeded())
    assert calls["steps"] == 100
    assert calls["step_size"] == 0.01
    assert calls["momentum"] == 0
    assert calls["smooth"] is None
    ssp(extractor, images, momentum=0.9, smoothing=7, steps=3, step_size=0.5)
    assert (calls["steps"], calls["step_size"], calls["momentum"]) == (3, 0.5, 0.9)
    flat = torch.ones(1, 3, 9, 9)
    assert calls["smooth"](flat)[0, 0, 4, 4].item() == pytest.approx(1)


def test_authors_start_is_gaussian_noise(monkeypatch, extractor, images):
    calls = record(monkeypatch)
    ssp(extractor, images, preset="authors", generator=seeded())
    assert calls["start"].abs().max() > 1.5


@pytest.mark.parametrize(
    "changes", [{"momentum": 1.0}, {"diversity": 1.0}, {"smoothing": 5}, {"start": "gaussian"}]
)
def test_every_switch_changes_the_result(extractor, images, changes):
    plain = ssp(extractor, images, steps=4, generator=seeded())
    assert not torch.equal(ssp(extractor, images, steps=4, generator=seeded(), **changes), plain)


def test_callable_start(extractor, images):
    seen = []

    def mine(x, eps, generator):
        seen.append((x.shape, eps, generator))
        return torch.ones_like(x)

    generator = seeded()
    options = {"steps": 1, "step_size": 1e-6}
    found = ssp(extractor, images, eps=0.1, start=mine, generator=generator, **options)
    torch.testing.assert_close(found, (images + 0.1).clamp(max=1))
    ((shape, eps, source),) = seen
    assert (shape, source) == (images.shape, generator)
    torch.testing.assert_close(eps, torch.full((len(images), 1, 1, 1), 0.1))


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 255, "divide uint8 values by 255"),
        (lambda x: x - 0.5, r"expected \[0, 1\]"),
        (lambda x: x.index_fill(0, torch.tensor([1]), float("nan")), "remove NaN"),
        (lambda x: x[0], "add a batch dimension"),
        (lambda x: x[:, :1], "expected N×3×H×W"),
        (lambda x: (x * 255).byte(), "divide uint8 by 255"),
    ],
)
def test_images_that_cannot_be_attacked(extractor, images, change, message):
    with pytest.raises(InputError, match=message):
        ssp(extractor, change(images), steps=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": 16}, "write 16 of 255 as 16/255"),
        ({"distance": "lpips"}, "no distance 'lpips'"),
        ({"start": "noise"}, "no start 'noise'"),
        ({"preset": "nrp"}, "no preset 'nrp'"),
        ({"amp": "fp16"}, "amp is 'fp16'"),
    ],
)
def test_arguments_that_cannot_be_used(extractor, images, arguments, message):
    with pytest.raises(InputError, match=message):
        ssp(extractor, images, steps=1, **arguments)


# --- the class -------------------------------------------------------------------------------


def test_class_goes_on_with_its_generator(extractor, images):
    attack = SSP(extractor, eps=0.05, seed=3, steps=2, distance="mse")
    generator = seeded(3)
    for _ in range(2):
        expected = ssp(extractor, images, eps=0.05, steps=2, distance="mse", generator=generator)
        assert torch.equal(attack(images), expected)
    assert attack.settings.distance == "mse"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, ("vgg16", "conv3_3")),
        ({"preset": "authors"}, ("vgg16", "relu3_3")),
        ({"surrogate": "hed_vgg16", "layer": "conv4_1"}, ("hed_vgg16", "conv4_1")),
        ({"surrogate": "alexnet"}, ("alexnet", None)),
    ],
)
def test_class_takes_surrogates_by_name(monkeypatch, extractor, arguments, wanted):
    asked = []

    def fake(name, layer):
        asked.append((name, layer))
        return extractor

    monkeypatch.setattr(module, "feature_extractor", fake)
    assert SSP(**arguments).extractor is extractor
    assert asked == [wanted]
