"""Sinkhorn's plan against closed forms and the exact assignment."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.attacks.fsa import cosine_cost, sinkhorn


def costs(rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("regularization", [0.01, 0.1, 1.0])
def test_two_points(regularization):
    """Of a plan [[t, ½-t], [½-t, t]] the entropic optimum has t = σ(-(a+d-b-c) / 2r) / 2."""
    cost = torch.tensor([[0.30, 0.52], [0.41, 0.60]], dtype=torch.float64)
    gain = (cost[0, 1] + cost[1, 0] - cost[0, 0] - cost[1, 1]) / (2 * regularization)
    t = 0.5 / (1 + math.exp(-gain))
    expected = torch.tensor([[t, 0.5 - t], [0.5 - t, t]], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(cost, regularization, 2000), expected)


@pytest.mark.parametrize("seed", range(5))
def test_little_blur_is_the_exact_assignment(seed):
    optimize = pytest.importorskip("scipy.optimize")
    cost = costs(7, 7, seed)
    rows, columns = optimize.linear_sum_assignment(cost.numpy())
    exact = float(cost[rows, columns].mean())
    found = float((sinkhorn(cost, 1e-3, 5000) * cost).sum())
    assert found == pytest.approx(exact, abs=2e-3)


def test_one_point_and_much_blur():
    assert sinkhorn(torch.tensor([[0.7]])).tolist() == [[1.0]]
    torch.testing.assert_close(sinkhorn(costs(3, 4), 1e6), torch.full((3, 4), 1 / 12).double())


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.floats(1e-4, 10))
@settings(deadline=None, max_examples=25)
def test_masses(rows, columns, seed, regularization):
    plan = sinkhorn(costs(rows, columns, seed), regularization)
    assert torch.isfinite(plan).all()
    assert (plan >= 0).all()
    torch.testing.assert_close(plan.sum(0), torch.full((columns,), 1 / columns).double())


def test_the_plan_has_no_gradient():
    cost = costs(2, 2).requires_grad_(True)
    assert not sinkhorn(cost).requires_grad


def test_cosine_cost():
    found = cosine_cost(torch.tensor([[1.0, 0.0], [3.0, 3.0]]), torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.0], [1 - math.sqrt(0.5)]]))
