import pytest
import torch
from torch import nn

from nrpurify.attacks import fff, fff_perturbation, load_pattern
from nrpurify.attacks.fff import excitation, fitted
from nrpurify.attacks.trained import PATTERN, save_pattern
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.models.features import FeatureExtractor
from nrpurify.purifiers import Card

EPS = 10 / 255


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(extractor, size=(6, 5), **changes):
    return fff_perturbation(extractor, size, generator=seeded(), **changes)


@pytest.fixture
def linear():
    """One channel, 1×1: w·x + b with b such that a gray picture gives a value well above 0."""
    conv = nn.Conv2d(3, 1, 1)
    conv.weight.data = torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1)
    conv.bias.data.fill_(2.0)
    return FeatureExtractor(nn.Sequential(conv), "0")


def test_the_best_for_a_linear_network_is_the_sign_of_its_weights(linear):
    found = make(linear, steps=300)
    expected = EPS * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1).expand(3, 6, 5)
    torch.testing.assert_close(found, expected)


def test_excitation_by_hand(linear):
    image = torch.full((2, 3, 2, 2), 0.5)
    image[1] = 1.0
    expected = torch.tensor([2 * 1.75, 2 * 1.5]).log()
    torch.testing.assert_close(excitation(linear, image), expected)
    both = FeatureExtractor(nn.Sequential(linear.network[0], nn.Tanh()), ("0", "1"))
    second = torch.tensor([2 * 1.75, 2 * 1.5]).div(2).tanh().mul(2).log()
    torch.testing.assert_close(excitation(both, image), (expected + second) / 2)


def test_the_making_is_bounded_reproducible_and_leaves_the_network_alone(extractor):
    seen = []
    first = make(extractor, steps=5, callback=lambda step, value: seen.append((step, value)))
    assert first.shape == (3, 6, 5)
    assert first.abs().max() <= EPS
    assert not first.requires_grad
    assert torch.equal(make(extractor, steps=5), first)
    assert not torch.equal(fff_perturbation(extractor, (6, 5), steps=5, generator=seeded(1)), first)
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5]
    assert all(value.shape == (1,) for _, value in seen)
    assert seen[-1][1] > seen[0][1]
    assert all(weight.grad is None for weight in extractor.parameters())


@pytest.mark.parametrize(("settled", "taken"), [(1e-3, 400), (0.0, 450)])
def test_it_ends_when_the_saturation_has_settled(linear, settled, taken):
    """After 300 steps all values are at ±10/255; the look at 400 sees no growth."""
    seen = []
    make(linear, steps=450, settled=settled, callback=lambda step, _: seen.append(step))
    assert seen[-1] == taken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": 10.0}, r"eps is 10; .* write 10 of 255 as 10/255"),
        ({"step_size": 0.0}, "step_size is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"size": (0, 4)}, r"size \(0, 4\)"),
    ],
)
def test_makings_that_cannot_be(extractor, changes, message):
    with pytest.raises(InputError, match=message):
        make(extractor, **changes)


def test_a_pattern_is_added_times_eps():
    images = torch.full((2, 3, 4, 4), 0.5)
    images[1] = 0.99
    pattern = torch.ones(3, 4, 4)
    pattern[:, 0] = -0.5
    found = fff(pattern, images, eps=torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(found[0, 0, :, 0], torch.tensor([0.45, 0.6, 0.6, 0.6]))
    torch.testing.assert_close(found[1, 0, :, 0], torch.tensor([0.89, 1, 1, 1]))


def test_larger_images_get_an_enlarged_tiled_pattern():
    pattern = torch.arange(4.0).view(1, 2, 2)
    assert fitted(pattern, 3, 5).tolist() == [[[0, 1, 0, 1, 0], [2, 3, 2, 3, 2], [0, 1, 0, 1, 0]]]
    large = fitted(pattern, 448, 450)
    assert large.shape == (1, 448, 450)
    assert large[0, :5, :5].tolist() == fitted(pattern.repeat_interleave(2, 1).repeat_interleave(
        2, 2), 5, 5)[0].tolist()  # fmt: skip


@pytest.mark.parametrize("pattern", [torch.zeros(1, 3, 4, 4), torch.full((3, 4, 4), 1.5),
                                     torch.full((3, 4, 4), float("nan"))])  # fmt: skip
def test_patterns_that_cannot_be(pattern, images):
    with pytest.raises(InputError, match=r"expected 3×H×W in \[-1, 1\]: divide"):
        fff(pattern, images)


def test_the_shipped_pattern():
    pattern = load_pattern()
    assert pattern.shape == (3, 112, 112)
    assert pattern.dtype == torch.float32
    assert (pattern.abs() == 1).float().mean() > 0.2


def test_files(tmp_path, images):
    pattern = torch.rand(3, 6, 6)
    save_pattern(pattern, tmp_path / "p.safetensors", Card("mine", PATTERN))
    torch.testing.assert_close(load_pattern(tmp_path / "p.safetensors"), pattern.half().float())
    with pytest.raises(WeightsError, match="has NaN"):
        save_pattern(pattern * float("nan"), tmp_path / "p.safetensors", Card("mine", PATTERN))
    for wrong in (2 * pattern + 1, pattern[:, :0]):
        save_pattern(wrong, tmp_path / "p.safetensors", Card("mine", PATTERN))
        with pytest.raises(WeightsError, match=r"expected one 3×H×W tensor in \[-1, 1\]"):
            load_pattern(tmp_path / "p.safetensors")
    with pytest.raises(InputError, match=r"no trained attack 'ffff'; expected .*fff"):
        load_pattern("ffff")
