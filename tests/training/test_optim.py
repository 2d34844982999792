import copy

import pytest
import torch
from torch import nn

from nrpurify.training.optim import Optimization, learning_rate, update_average


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 1), (49_999, 1), (50_000, 1 / 2), (99_999, 1 / 2), (100_000, 1 / 4), (200_000, 1 / 8),
     (299_999, 1 / 8), (300_000, 1 / 16), (399_999, 1 / 16)],
)  # fmt: skip
def test_paper_schedule_halves_at_esrgans_milestones(step, factor):
    assert learning_rate(step, 400_000, Optimization()) == pytest.approx(1e-4 * factor)


def test_cosine_runs_from_lr_to_the_final_one():
    settings = Optimization(lr=1.0, final_lr=0.1, schedule="cosine")
    assert learning_rate(0, 100, settings) == pytest.approx(1.0)
    assert learning_rate(50, 100, settings) == pytest.approx(0.55)
    assert learning_rate(100, 100, settings) == pytest.approx(0.1)
    assert learning_rate(150, 100, settings) == pytest.approx(0.1)
    rates = [learning_rate(step, 100, settings) for step in range(101)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_warmup_grows_linearly_from_the_first_step(schedule):
    settings = Optimization(lr=1.0, warmup=4, schedule=schedule)
    rates = [learning_rate(step, 10**6, settings) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0], rel=1e-4)


@pytest.mark.parametrize(
    ("decay", "step", "kept"), [(0.9, 10**6, 0.9), (0.9, 0, 0.1), (0.9, 8, 0.5), (0.0, 3, 0.0)]
)
def test_average_moves_by_its_formula(decay, step, kept):
    network = nn.BatchNorm1d(2)
    average = copy.deepcopy(network)
    before = average.weight.clone()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([3.0, -7.0]))
        network.running_mean.copy_(torch.tensor([5.0, 6.0]))
    update_average(average, network, decay, step)
    torch.testing.assert_close(average.weight, kept * before + (1 - kept) * network.weight)
    torch.testing.assert_close(average.running_mean, (1 - kept) * network.running_mean)
    assert average.num_batches_tracked == network.num_batches_tracked
    if not decay:
        assert torch.equal(average.weight, network.weight)
