from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nrpurify.attacks import EOT, Ensemble, fgsm, i_fgsm, tap
from nrpurify.core.errors import GradientWarning, InputError
from nrpurify.defenses import GaussianNoise, Protected
from nrpurify.models.features import FeatureExtractor


def seen(model, images, labels, **options):
    """The values at each step."""
    values = []
    tap(model, images, labels, **options, callback=lambda _, v: values.append(v))
    return values


def test_the_loss_is_the_formula(classifier, images, labels):
    model = classifier.double()
    clean = images.double()
    options = {"features": ["0", "3"], "step_size": 0.01}
    attacked = tap(model, clean, labels, steps=2, **options)
    (_, _, value) = seen(model, clean, labels, steps=3, **options)
    model.eval()

    def layers(x):
        return model[0](x), model[:4](x)

    expected = F.cross_entropy(model(attacked), labels, reduction="none")
    for a, b in zip(layers(attacked), layers(clean), strict=True):
        root = a.sign() * a.abs().sqrt() - b.sign() * b.abs().sqrt()
        expected = expected + 0.005 * root.square().flatten(1).sum(1)
    box = torch.full((3, 1, 3, 3), 1 / 9, dtype=torch.float64)
    smooth = F.conv2d(attacked - clean, box, padding=1, groups=3)
    expected = expected + 0.01 * smooth.abs().flatten(1).sum(1)
    torch.testing.assert_close(value, expected.detach())


def test_the_first_step_is_that_of_fgsm(classifier, images, labels):
    one = tap(classifier, images, labels, steps=1)
    torch.testing.assert_close(one, fgsm(classifier, images, labels))


def test_without_its_weights_it_is_i_fgsm(classifier, images, labels):
    plain = tap(classifier, images, labels, feature_weight=0.0, smooth_weight=0.0)
    torch.testing.assert_close(plain, i_fgsm(classifier, images, labels))
    assert not torch.equal(tap(classifier, images, labels), plain)


def test_by_default_all_convolutions_count(classifier, images, labels):
    default = tap(classifier, images, labels, steps=3)
    assert torch.equal(tap(classifier, images, labels, features=("0", "3"), steps=3), default)
    assert not torch.equal(tap(classifier, images, labels, features="0", steps=3), default)
    assert not any(module._forward_hooks for module in classifier.modules())


def test_a_feature_extractor_of_its_own(classifier, extractor, images, labels):
    found = tap(classifier, images, labels, features=extractor, feature_weight=1.0, steps=4)
    free = extractor.network.requires_grad_(True).train()
    again = tap(
        classifier, images, labels, features=FeatureExtractor(free, "conv2"), feature_weight=1.0,
        steps=4,
    )  # fmt: skip
    assert torch.equal(found, again)
    assert not torch.equal(found, tap(classifier, images, labels, steps=4))


def test_features_at_zero_have_no_infinite_gradient(images, labels):
    torch.manual_seed(0)
    dead = nn.Conv2d(3, 4, 1)
    nn.init.constant_(dead.bias, -10.0)  # all features are zero behind the ReLU
    model = nn.Sequential(dead, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 120, 5))
    with pytest.warns(GradientWarning, match="zero everywhere"):
        values = seen(model, images, labels, features="1")
    assert torch.stack(values).isfinite().all()


def test_layers_that_cannot_be(classifier, images, labels):
    with pytest.raises(InputError, match="no layer '9'"):
        tap(classifier, images, labels, features="9")
    with pytest.raises(InputError, match="no convolution"):
        tap(nn.Sequential(nn.Flatten(), nn.Linear(360, 5)), images, labels)
    with pytest.raises(InputError, match=r"is a function, in which no layer"):
        tap(lambda x: classifier(x), images, labels)


@pytest.mark.parametrize("draws", [1, 2])
def test_several_passes_count_as_their_mean(classifier, images, labels, draws):
    """The defense changes nothing, so that all passes are alike."""
    options = {"steps": 3, "feature_weight": 1.0}
    once, thrice = (
        EOT(Protected(classifier, nn.Identity(), passes=passes), draws) for passes in (1, 3)
    )
    for found, expected in zip(
        seen(thrice, images, labels, **options), seen(once, images, labels, **options), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_members_of_an_ensemble_may_differ_in_passes(classifier, images, labels):
    other = deepcopy(classifier)
    plain = Ensemble(classifier, other)
    mixed = Ensemble(Protected(classifier, nn.Identity(), passes=5), other)
    options = {"steps": 3, "feature_weight": 1.0}
    expected = seen(plain, images, labels, **options, features=["models.0.0", "models.1.3"])
    layers = ["models.0.model.0", "models.1.3"]
    for found, value in zip(
        seen(mixed, images, labels, **options, features=layers), expected, strict=True
    ):
        torch.testing.assert_close(found, value)


def test_images_that_go_together_keep_their_own_passes(classifier, images, labels):
    model = Protected(classifier, nn.Identity(), passes=3)
    options = {"steps": 3, "feature_weight": 1.0, "amp": True}
    together = seen(model, images[:2], labels[:2], **options)
    apart = [seen(model, images[k : k + 1], labels[k : k + 1], **options) for k in range(2)]
    for found, expected in zip(together, zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(expected))


def test_passes_of_an_odd_number_of_features(images, labels):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 1, (4, 2)), nn.Flatten(), nn.Linear(81, 5))
    found = tap(Protected(model, GaussianNoise(0.01), passes=3), images[:2], labels[:2], amp=True)
    assert found.shape == images[:2].shape
