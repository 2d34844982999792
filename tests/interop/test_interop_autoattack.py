"""AutoAttack, by which RobustBench judges, against a protected model."""

import pytest
import torch
from torch import nn

from nrpurify import protect
from nrpurify.attacks import pgd
from nrpurify.interop import torch_model

autoattack = pytest.importorskip("pyautoattack.autoattack")


def judge(target, images, labels, eps, attacks):
    attack = autoattack.AutoAttack(target, eps=eps, version="custom", attacks=attacks, seed=0)
    attack.verbose = False
    attack.apgd.n_restarts, attack.square.n_queries = 1, 200
    attacked, _ = attack.run_standard_evaluation(images, labels, batch_size=2)
    return attacked


def test_it_is_at_least_as_strong_as_pgd(defense, images):
    torch.manual_seed(0)
    model = protect(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)), defense).train()
    target = torch_model(model)
    labels, eps = target(images).argmax(1), 8 / 255
    ours = pgd(model, images, labels, eps=eps, steps=10)
    attacked = judge(target, images, labels, eps, ["apgd-ce", "square"])
    assert (attacked - images).abs().max() <= eps + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    held, held_ours = (target(x).argmax(1) == labels for x in (attacked, ours))
    assert held.sum() <= held_ours.sum() < len(labels)
    assert model.training


def test_it_wins_where_the_answer_hangs_on_little(defense, images):
    target = torch_model(protect(lambda x: 9 * x.mean((2, 3)), defense))
    labels = target(images).argmax(1)
    attacked = judge(target, images, labels, 8 / 255, ["apgd-ce"])
    assert (target(attacked).argmax(1) != labels).all()
