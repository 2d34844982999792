import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.attacks.gradient import sign_gradient_ascent as ascend
from nrpurify.attacks.gradient import value_and_gradient
from nrpurify.core.errors import InputError


def linear(weight):
    return lambda images: (images * weight).flatten(1).sum(1)


@given(
    eps=st.floats(1 / 255, 1),
    step_size=st.floats(0.01, 1),
    momentum=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=40)
def test_linear_objective_is_maximized_exactly(eps, step_size, momentum, seed):
    generator = torch.Generator().manual_seed(seed)
    images, weight = (torch.rand(2, 3, 4, 5, generator=generator) for _ in range(2))
    weight = weight - 0.5
    found = ascend(
        images, linear(weight), eps=eps, steps=101, step_size=step_size, momentum=momentum
    )
    best = (images + eps * weight.sign()).clamp(0, 1)
    torch.testing.assert_close(found, best, atol=1e-6, rtol=0)


def test_one_step_has_the_given_length(images):
    weight = torch.ones_like(images)
    steps = torch.tensor([0.01, 0.02, 0.03])
    found = ascend(images * 0.5, linear(weight), eps=0.1, steps=1, step_size=steps)
    torch.testing.assert_close(found - images * 0.5, steps.view(3, 1, 1, 1).expand_as(images))


def test_eps_per_sample_equals_separate_runs(images):
    weight = torch.randn(3, 12, 10, generator=torch.Generator().manual_seed(1))
    eps = [0.01, 0.1, 0.5]
    settings = {"steps": 30, "step_size": 0.05}
    together = ascend(images, linear(weight), eps=torch.tensor(eps), **settings)
    apart = [
        ascend(images[k : k + 1], linear(weight), eps=e, **settings) for k, e in enumerate(eps)
    ]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=0)


def test_start_is_projected_and_zero_steps_return_it(images):
    start = torch.full_like(images, 5.0)
    found = ascend(images, linear(1.0), eps=0.1, steps=0, step_size=0.1, start=start)
    torch.testing.assert_close(found, (images + 0.1).clamp(max=1))
    torch.testing.assert_close(
        ascend(images, linear(1.0), eps=0.1, steps=0, step_size=0.1),
        images,
        rtol=0,
        atol=0,
    )


def test_momentum_carries_over_a_gradient_that_turns():
    images = torch.full((1, 3, 1, 1), 0.5)
    slopes = iter([4.0, -1.0])
    found = ascend(
        images, lambda x: linear(next(slopes))(x), eps=0.5, steps=2, step_size=0.1, momentum=1.0
    )
    torch.testing.assert_close(found, images + 0.1)  # +0.1, then sign(1 - 1) = 0
    slopes = iter([4.0, -1.0])
    plain = ascend(images, lambda x: linear(next(slopes))(x), eps=0.5, steps=2, step_size=0.1)
    torch.testing.assert_close(plain, images)


def test_smooth_filters_the_gradient(images):
    seen = []

    def smooth(gradient):
        seen.append(gradient)
        return -gradient

    low = ascend(images, linear(1.0), eps=0.1, steps=3, step_size=0.1, smooth=smooth)
    torch.testing.assert_close(low, (images - 0.1).clamp(min=0))
    assert len(seen) == 3


def test_callback_sees_every_step_and_its_values(images):
    seen = []
    objective = linear(1.0)
    ascend(
        images,
        objective,
        eps=0.1,
        steps=4,
        step_size=0.02,
        callback=lambda step, values: seen.append((step, values)),
    )
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    torch.testing.assert_close(seen[0][1], objective(images))
    assert all(values.shape == (3,) and not values.requires_grad for _, values in seen)
    assert (seen[-1][1] > seen[0][1]).all()


def test_no_graph_grows_and_nothing_is_modified(images):
    before = images.clone()
    images.requires_grad_(True)
    weight = torch.ones(3, 12, 10, requires_grad=True)
    with torch.no_grad():
        found = ascend(images, linear(weight), eps=0.1, steps=3, step_size=0.1)
    again = ascend(images, linear(weight), eps=0.1, steps=3, step_size=0.1)
    assert not found.requires_grad
    assert not again.requires_grad
    assert weight.grad is None
    assert images.grad is None
    torch.testing.assert_close(images.detach(), before, rtol=0, atol=0)


def test_steps_keep_no_graph_of_images_with_gradients(images):
    graphs = []

    def objective(point):
        graphs.append(point.grad_fn)
        return linear(1.0)(point)

    ascend(images.requires_grad_(True), objective, eps=0.1, steps=3, step_size=0.1)
    assert graphs == [None] * 3


def test_value_and_gradient_by_hand():
    images = torch.tensor([2.0, 3.0]).view(2, 1, 1, 1)
    values, gradient = value_and_gradient(lambda x: x.square().flatten(1).sum(1), images)
    assert values.tolist() == [4, 9]
    assert gradient.flatten().tolist() == [4, 6]


@pytest.mark.parametrize("step_size", [0, 2, float("nan")])
def test_step_size_is_checked(images, step_size):
    with pytest.raises(InputError, match="step_size"):
        ascend(images, linear(1.0), eps=0.1, steps=1, step_size=step_size)


@pytest.mark.parametrize("frozen", [True, False])
def test_values_that_do_not_depend_on_the_images_are_refused(frozen, images):
    """Also where weights of a function's own network need a gradient."""
    weight = torch.ones((), requires_grad=not frozen)
    with pytest.raises(InputError, match="the model's answer has no gradient"):
        value_and_gradient(lambda x: weight * x.detach().mean((1, 2, 3)), images)
