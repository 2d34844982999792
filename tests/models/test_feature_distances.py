import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nrpurify.core.errors import InputError
from nrpurify.models.feature_distances import (
    DISTANCES,
    cosine,
    distance,
    feature_distance,
    mae,
    mse,
    wasserstein,
)

A = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]])
B = torch.tensor([[[[4.0, -2.0]]], [[[0.0, 1.0]]]])


def cloud(seed, count=2, channels=5, positions=7):
    return torch.randn(count, channels, positions, generator=torch.Generator().manual_seed(seed))


def test_values_by_hand():
    assert mae(A, B).tolist() == [3.5, 0.5]
    assert mse(A, B).tolist() == [12.5, 0.5]


def test_cosine_by_hand():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    b = torch.tensor([[0.0, 3.0], [-5.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(cosine(a, b), torch.tensor([1.0, 2.0, 0.0]))


def test_wasserstein_of_one_channel_is_the_sorted_difference():
    a, b = torch.tensor([[[0.0, 1.0, 5.0]]]), torch.tensor([[[6.0, 1.0, 1.0]]])
    torch.testing.assert_close(wasserstein(a, b), torch.tensor([2 / 3]))


def test_wasserstein_sees_a_shift_of_all_points_by_at_most_its_length():
    shift = torch.tensor([3.0, 0, 0, 0, 0]).view(1, 5, 1)
    value = wasserstein(cloud(0), cloud(0) + shift, projections=2000)
    mean_cosine = 3 / 8  # E|u₁| of a random direction in five dimensions
    torch.testing.assert_close(value, torch.full((2,), 3 * mean_cosine), rtol=0.05, atol=0)


@given(st.permutations(range(7)))
def test_wasserstein_ignores_positions(order):
    a = cloud(1)
    assert wasserstein(a, a[..., list(order)]).max() < 1e-6
    assert mae(a, a.roll(1, 2)).min() > 0.1
    assert wasserstein(a, cloud(2)).min() > 0.05


@pytest.mark.parametrize("name", DISTANCES)
def test_axioms_and_no_mixing_of_samples(name):
    measure = distance(name)
    a, b = cloud(3), cloud(4)
    assert measure(a, b).shape == (2,)
    assert (measure(a, b) > 0).all()
    torch.testing.assert_close(measure(a, b), measure(b, a))
    torch.testing.assert_close(measure(a, a), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(measure(a, b)[1:], measure(a[1:], b[1:]))


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_are_finite(name):
    a = cloud(5).requires_grad_(True)
    distance(name)(a, cloud(6)).sum().backward()
    assert a.grad.isfinite().all()
    assert a.grad.abs().sum() > 0


def test_half_precision_is_compared_in_fp32():
    a = torch.full((1, 3), 256.0, dtype=torch.bfloat16)
    b = torch.full((1, 3), 0.5, dtype=torch.bfloat16)
    value = feature_distance((a,), (b,))
    assert value.dtype == torch.float32
    assert value.item() == 255.5  # bfloat16 would say 256
    assert feature_distance((a.double(),), (b.double(),)).dtype == torch.float64


def test_layers_are_summed():
    total = feature_distance((A, A), (B, 2 * A), "mae")
    torch.testing.assert_close(total, mae(A, B) + mae(A, 2 * A))


def test_unknown_name_and_uneven_layers():
    with pytest.raises(InputError, match=r"no distance 'lpips'; expected one of mae, mse, cosine"):
        distance("lpips")
    with pytest.raises(ValueError, match="zip"):
        feature_distance((A,), (A, A))
