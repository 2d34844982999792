"""Attacks from several threads on one model, and blocks within blocks."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from nrpurify import attacks
from nrpurify.attacks import surrogate
from nrpurify.attacks.surrogate import for_convolutions, frozen
from nrpurify.interop import torch_model
from nrpurify.models.features import FeatureExtractor


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(120, 5)
    )
    net[4].bias.requires_grad_(False)
    return net.train()


def state(net):
    weights = [(w.requires_grad, w.data_ptr(), w.stride()) for w in net.parameters()]
    return [m.training for m in net.modules()], weights


def test_the_last_block_gives_modes_and_flags_back():
    net, other = network(), nn.Sequential()
    other.append(net[0])  # models that share a module
    before, entered, leave = state(net), threading.Event(), threading.Event()

    def stay():
        with frozen(other, net):
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=stay)
    with frozen(net):
        thread.start()
        assert entered.wait(5)
    assert not net[0].training  # the thread still works with it
    assert not any(w.requires_grad for w in net.parameters())
    leave.set()
    thread.join()
    assert state(net) == before
    assert other.training
    assert not surrogate._HELD


def test_weights_of_convolutions_lie_channels_last_meanwhile():
    net = network()
    before, values = state(net), [weight.clone() for weight in net.parameters()]
    with frozen(net):
        for_convolutions(net, torch.rand(1, 3, 12, 10))
        assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
        for weight, value in zip(net.parameters(), values, strict=True):
            torch.testing.assert_close(weight, value, rtol=0, atol=0)
    assert state(net) == before


def test_weights_that_cannot_be_laid_out_are_left_alone():
    with torch.inference_mode():
        made_in_it = nn.Conv2d(3, 4, 3)
    for model in (made_in_it, nn.Conv2d(3, 4, 3, device="meta")):
        before = [weight.requires_grad for weight in model.parameters()]
        with frozen(model):
            for_convolutions(model, torch.rand(1, 3, 12, 10))
        assert [weight.requires_grad for weight in model.parameters()] == before


def test_nested_blocks_and_errors():
    net = network()
    before = state(net)
    with pytest.raises(ZeroDivisionError), frozen(net), frozen(net):
        _ = 1 // net.training
    assert state(net) == before


def seeded():
    return torch.Generator().manual_seed(5)


def probed(model, images, labels):
    return attacks.tap(model, images, labels, eps=8 / 255, steps=3, features="0")


def through_target(model, images, labels):
    model = torch_model(model)
    return attacks.pgd(model, images, labels, eps=8 / 255, steps=3, generator=seeded())


def test_features_are_those_of_the_own_thread():
    extractor = FeatureExtractor(nn.Sequential(network()), "0.2")
    images = [torch.rand(2, 3, 12, 10) for _ in range(20)]
    expected = [extractor(batch)[0] for batch in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: extractor(batch)[0], images))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("attack", [through_target, probed])
def test_attacks_from_threads_are_those_of_one(attack):
    net = network()
    before, weights = state(net), copy.deepcopy(net.state_dict())
    torch.manual_seed(1)
    images = [torch.rand(2, 3, 12, 10) for _ in range(12)]
    labels = torch.tensor([1, 3])

    def run(batch):
        return attack(net, batch, labels)

    expected = [run(batch) for batch in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, images))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert state(net) == before
    assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())
