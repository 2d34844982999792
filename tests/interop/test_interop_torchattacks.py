import pytest
import torch

from nrpurify import protect
from nrpurify.attacks import pgd
from nrpurify.interop import torch_model

torchattacks = pytest.importorskip("torchattacks")

EPS, STEP = 8 / 255, 2 / 255
LABELS = torch.tensor([1, 0, 4])


def test_pgd_is_ours(model, images):
    attack = torchattacks.PGD(torch_model(model), EPS, STEP, 7, random_start=False)
    expected = pgd(model, images, LABELS, eps=EPS, step_size=STEP, steps=7, start="clean")
    torch.testing.assert_close(attack(images, LABELS), expected, rtol=0, atol=1e-5)
    assert model.training


def test_a_model_without_weights_has_a_device(images, capsys):
    attack = torchattacks.FGSM(torch_model(lambda x: x.mean((2, 3))), EPS)
    assert attack.device == torch.device("cpu")
    assert "Failed" not in capsys.readouterr().out
    assert attack(images, torch.tensor([0, 1, 2])).shape == images.shape


def test_apgd_of_auto_attack_wins(defense, images):
    """The first of the attacks that RobustBench judges by, on a model that is easily misled."""
    target = torch_model(protect(lambda x: 9 * x.mean((2, 3)), defense))
    labels = target(images).argmax(1)
    attacked = torchattacks.APGD(target, eps=EPS, steps=10, seed=0)(images, labels)
    assert (attacked - images).abs().max() <= EPS + 1e-6
    assert (target(attacked).argmax(1) != labels).all()
