import sys

import pytest
import torch

from nrpurify import NrpurifyError
from nrpurify.attacks import pgd
from nrpurify.interop import foolbox_model
from nrpurify.interop.libraries import library

EPS, STEP = 8 / 255, 2 / 255
LABELS = torch.tensor([1, 0, 4])


@pytest.fixture
def attacks():
    pytest.importorskip("foolbox", exc_type=ImportError)
    return library("foolbox.attacks", "foolbox", "foolbox")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pgd_is_ours(model, images, attacks):
    attack = attacks.LinfProjectedGradientDescentAttack(
        abs_stepsize=STEP, steps=7, random_start=False
    )
    wrapped = foolbox_model(model)
    assert wrapped.bounds == (0, 1)
    _, [found], success = attack(wrapped, images, LABELS, epsilons=[EPS])
    expected = pgd(model, images, LABELS, eps=EPS, step_size=STEP, steps=7, start="clean")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert success.shape == (1, 3)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_foolbox_is_optional(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(NrpurifyError, match="pip install foolbox"):
        foolbox_model(model)
