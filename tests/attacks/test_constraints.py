import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.attacks import apgd_ce, apgd_dlr, square
from nrpurify.attacks.constraints import LinfBall, per_sample
from nrpurify.core.errors import InputError


@given(st.floats(1e-3, 1), st.integers(0, 2**32), st.floats(-3, 3))
@settings(deadline=None)
def test_projection_stays_inside_and_is_idempotent(eps, seed, shift):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 3, 2, generator=generator)
    box = LinfBall.around(images, eps)
    inside = box.project(images + shift)
    assert (inside - images).abs().max() <= eps + 1e-6
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert torch.equal(box.project(inside), inside)
    assert torch.equal(box.project(images), images)


@given(
    st.floats(1e-3, 1),
    st.integers(0, 2**32),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
)
@settings(deadline=None)
def test_cast_keeps_images_inside(eps, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(2, 3, 5, 4, generator=generator).to(dtype).float()
    box = LinfBall.around(clean, eps)
    inside = box.project(clean + torch.randn(clean.shape, generator=generator))
    cast = box.cast(inside, dtype)
    assert cast.dtype == dtype
    assert torch.equal(box.project(cast.float()), cast.float())
    tolerance = torch.finfo(dtype).eps
    torch.testing.assert_close(cast.float(), inside, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("value", [0.25, [0.25, 0.25], np.float32(0.25), torch.tensor([[0.25]])])
def test_one_value_or_one_an_image(value):
    images = torch.zeros(2, 3, 1, 1, dtype=torch.float64)
    values = per_sample(value, images)
    assert values.shape == (2, 1, 1, 1)
    assert values.dtype == torch.float64
    assert values.flatten().tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (16, r"eps is 16; expected a value in \(0, 1\]; write 16 of 255 as 16/255"),
        (0, r"eps is 0; expected a value in \(0, 1\]$"),
        (-0.1, r"eps is -0.1"),
        (float("nan"), "eps is nan"),
        (torch.tensor([0.1, 8.0]), "write 8 of 255 as 8/255"),
        (torch.tensor([0.1, 0.1, 0.1]), "eps has 3 values for 2 images; expected 1 or one each"),
    ],
)
def test_errors_name_value_and_remedy(eps, message):
    with pytest.raises(InputError, match=message):
        per_sample(eps, torch.zeros(2, 3, 1, 1))


@pytest.mark.parametrize("attack", [apgd_ce, apgd_dlr, square])
def test_images_that_are_left_alone_end_inside_the_box(classifier, images, attack):
    """What is a little outside of [0, 1] is admitted, and so must not come back."""
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 1 + 9e-7, -9e-7
    wrong = (classifier.eval()(images).argmax(1) + 1) % 5
    found = attack(classifier, images, wrong, steps=1)
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(found, images, atol=1e-6, rtol=0)
