import torch
from torch import nn

from nrpurify.purifiers.registry import design
from nrpurify.training.initial import seeded_weights
from nrpurify.training.net2net import can_expand


def drawn(seed):
    with seeded_weights(seed):
        return nn.Linear(3, 2).weight


def test_weights_are_those_of_the_seed_and_all_generators_are_left(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    first, again, other = drawn(4), drawn(4), drawn(5)
    assert torch.equal(torch.get_rng_state(), before)
    assert seeded == []  # of no device either
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(4)
    assert torch.equal(first, nn.Linear(3, 2).weight)


def test_they_do_not_depend_on_the_default_device():
    wanted = drawn(4)
    torch.set_default_device("meta")
    try:
        assert torch.equal(drawn(4), wanted)
    finally:
        torch.set_default_device(None)


def test_a_comparison_of_designs_draws_nothing():
    before = torch.get_rng_state()
    assert can_expand(design("micro"), design("micro"))
    assert torch.equal(torch.get_rng_state(), before)
