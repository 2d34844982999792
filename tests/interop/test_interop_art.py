import sys

import numpy as np
import pytest
import torch
from torch import nn

from nrpurify.attacks import BPDA, pgd
from nrpurify.core.errors import InputError, NrpurifyError
from nrpurify.interop import art_classifier, art_preprocessor
from nrpurify.purifiers import build_purifier

EPS, STEP = 8 / 255, 2 / 255
LABELS = torch.tensor([1, 0, 4])
SHAPE = (3, 16, 16)


class Round(nn.Module):
    """A defense without a gradient."""

    def forward(self, images):
        return (images.detach() * 15).round() / 15


@pytest.fixture
def evasion():
    return pytest.importorskip("art.attacks.evasion")


def attacked(evasion, classifier, images):
    attack = evasion.ProjectedGradientDescentPyTorch(
        classifier, eps=EPS, eps_step=STEP, max_iter=7, verbose=False
    )
    return torch.from_numpy(attack.generate(images.numpy(), LABELS.numpy()))


def ours(model, images):
    return pgd(model, images, LABELS, eps=EPS, step_size=STEP, steps=7, start="clean")


def test_pgd_is_ours(evasion, model, images):
    classifier = art_classifier(model, SHAPE)
    assert classifier.nb_classes == 5
    torch.testing.assert_close(
        attacked(evasion, classifier, images), ours(model, images), rtol=0, atol=1e-5
    )
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_gradient_and_prediction(evasion, model, images):
    classifier = art_classifier(model, SHAPE, classes=5)
    pixels = images.clone().requires_grad_()
    logits = model.eval()(pixels)
    nn.functional.cross_entropy(logits, LABELS).backward()
    gradient = classifier.loss_gradient(images.numpy(), np.eye(5, dtype=np.float32)[LABELS])
    np.testing.assert_allclose(gradient, pixels.grad.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        classifier.predict(images.numpy()), logits.detach().numpy(), atol=1e-5
    )


def test_a_preprocessor_is_attacked_through(evasion, classifier, model, defense, images):
    chain = art_classifier(classifier, SHAPE, preprocessing_defences=[art_preprocessor(defense)])
    torch.testing.assert_close(
        attacked(evasion, chain, images), ours(model, images), rtol=0, atol=1e-5
    )


def test_a_purifier_as_preprocessor(evasion, images):
    purifier = build_purifier("micro")
    preprocessor = art_preprocessor(purifier)
    purified, labels = preprocessor(images.numpy(), LABELS.numpy())
    np.testing.assert_allclose(purified, purifier(images).detach().numpy(), atol=1e-6)
    assert (labels == LABELS.numpy()).all()
    rows = torch.rand(images.shape, generator=torch.Generator().manual_seed(3))
    pixels = images.clone().requires_grad_()
    purifier(pixels).backward(rows)
    purifier.zero_grad()
    found = preprocessor.estimate_gradient(images.numpy(), rows.numpy())
    np.testing.assert_allclose(found, pixels.grad.numpy(), atol=1e-5)
    assert all(weight.grad is None for weight in purifier.parameters())


def test_bpda_for_a_defense_without_gradient(evasion, classifier, images):
    with_none = art_preprocessor(Round())
    rows = np.ones((3, *SHAPE), dtype=np.float32)
    assert with_none(images.numpy())[0].shape == (3, *SHAPE)
    with pytest.raises(InputError, match=r"give art_preprocessor a BPDA\(Round"):
        with_none.estimate_gradient(images.numpy(), rows)
    bpda = art_preprocessor(BPDA(Round()))
    np.testing.assert_array_equal(bpda.estimate_gradient(images.numpy(), rows), rows)
    np.testing.assert_array_equal(bpda(images.numpy())[0], with_none(images.numpy())[0])
    chain = art_classifier(classifier, SHAPE, preprocessing_defences=[bpda])
    expected = ours(nn.Sequential(BPDA(Round()), classifier), images)
    torch.testing.assert_close(attacked(evasion, chain, images), expected, rtol=0, atol=1e-5)


def test_another_shape_is_refused(evasion, model):
    with pytest.raises(InputError, match=r"input_shape is \(16, 16, 3\); expected \(3, height"):
        art_classifier(model, (16, 16, 3))


def test_art_is_optional(model, defense, monkeypatch):
    for name in ("art.estimators.classification", "art.defences.preprocessor.preprocessor"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "nrpurify.interop.art_defense", raising=False)
    for call in (lambda: art_classifier(model, SHAPE), lambda: art_preprocessor(defense)):
        with pytest.raises(NrpurifyError, match="pip install adversarial-robustness-toolbox"):
            call()
