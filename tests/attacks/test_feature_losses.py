import pytest
import torch

from nrpurify.attacks.feature_losses import (
    feature_distortion,
    feature_matching,
    feature_transfer,
    input_diversity,
    negative_mean,
    no_diversity,
    random_direction,
)
from nrpurify.models.feature_distances import feature_distance
from nrpurify.models.features import FeatureExtractor


class Watched(torch.nn.Module):
    """Remembers the shapes of what it saw."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return x


@pytest.mark.parametrize("name", ["mae", "mse", "cosine", "wasserstein"])
def test_away_and_toward_are_the_distance_with_opposite_signs(extractor, images, name):
    other = images.flip(3)
    expected = feature_distance(extractor(other), extractor(images), name)
    torch.testing.assert_close(feature_distortion(extractor, images, name)(other), expected)
    torch.testing.assert_close(feature_matching(extractor, images, name)(other), -expected)
    assert feature_distortion(extractor, images, name)(images).abs().max() < 1e-5


def test_clean_features_are_computed_once(images):
    watched = Watched()
    objective = feature_distortion(
        FeatureExtractor(torch.nn.Sequential(watched), "0"), images, "mae"
    )
    for _ in range(3):
        objective(images)
    assert len(watched.shapes) == 4


def test_diversity_shows_both_images_the_same_transformation(images):
    watched = Watched()
    extractor = FeatureExtractor(torch.nn.Sequential(watched), "0")
    generator = torch.Generator().manual_seed(0)
    objective = feature_distortion(
        extractor, images, "mae", input_diversity(images, 1.0, generator)
    )
    values = [objective(images) for _ in range(3)]
    assert torch.stack(values).max() == 0
    assert len(watched.shapes) == 6  # clean and attacked, anew at each step
    assert {shape[2:] for shape in watched.shapes} == {(14, 11)}


def test_no_probability_is_no_diversity(images):
    assert input_diversity(images, 0.0, None) is no_diversity
    assert no_diversity()(images) is images


def test_along_is_linear_in_the_mean_feature(extractor, images):
    objective = random_direction(extractor, torch.Generator().manual_seed(0))
    pooled = extractor(images)[0].mean((2, 3))
    direction = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(objective(images), (pooled * direction).sum(1))
    torch.testing.assert_close(objective(images), objective(images))


def test_along_sums_over_layers(body, images):
    both = FeatureExtractor(body, ("conv1", "conv2"))
    generator = torch.Generator().manual_seed(0)
    value = random_direction(both, generator)(images)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        (layer.mean((2, 3)) * torch.randn(3, layer.shape[1], generator=generator)).sum(1)
        for layer in both(images)
    )
    torch.testing.assert_close(value, first + second)


def own_direction(pooled):
    centered = pooled - pooled.mean(1, keepdim=True)
    return centered / centered.norm(dim=1, keepdim=True)


def test_against_is_minus_the_component_along_the_own_mean_feature(extractor, images):
    pooled, other = (extractor(x)[0].mean((2, 3)) for x in (images, images.flip(3) ** 2))
    found = negative_mean(extractor, images)(images.flip(3) ** 2)
    torch.testing.assert_close(found, -(other * own_direction(pooled)).sum(1))


def test_switch_leads_from_one_image_to_another(extractor, images):
    targets = images.roll(1, 0)
    objective = feature_transfer(extractor, images, targets)
    first, second = (extractor(x)[0].mean((2, 3)) for x in (images, targets))
    direction = own_direction(second) - own_direction(first)
    torch.testing.assert_close(objective(images), (first * direction).sum(1))
    torch.testing.assert_close(objective(targets), (second * direction).sum(1))


def test_against_has_a_gradient_at_the_image_itself(extractor, images):
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(
        negative_mean(extractor, images.detach())(images).sum(), images
    )
    assert gradient.abs().sum() > 0


def test_bf16_values_are_near_and_returned_in_fp32(extractor, images):
    other = images.flip(3)
    exact = feature_distortion(extractor, images, "mae")(other)
    rough = feature_distortion(extractor, images, "mae", amp=True)(other)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0)


class Tokens(torch.nn.Module):
    """Images as N×tokens×channels, a token a column."""

    def forward(self, images):
        return images.flatten(1, 2).transpose(1, 2)


@pytest.mark.parametrize(
    ("network", "pooled"),
    [
        (Tokens(), lambda images: images.flatten(1, 2).mean(2)),
        (torch.nn.Flatten(), lambda images: images.flatten(1)),
    ],
)
def test_tokens_and_plain_vectors_are_features_too(images, network, pooled):
    extractor = FeatureExtractor(torch.nn.Sequential(network), "0")
    other = images.flip(3) ** 2
    found = negative_mean(extractor, images)(other)
    torch.testing.assert_close(found, -(pooled(other) * own_direction(pooled(images))).sum(1))
    direction = own_direction(pooled(other)) - own_direction(pooled(images))
    found = feature_transfer(extractor, images, other)(images)
    torch.testing.assert_close(found, (pooled(images) * direction).sum(1))
    found = random_direction(extractor, torch.Generator().manual_seed(0))(images)
    drawn = torch.randn(pooled(images).shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, (pooled(images) * drawn).sum(1))
