import pytest
import torch
import torch.nn.functional as F

from nrpurify.purifiers.strength import window_mean


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("shape", [(2, 3, 17, 23), (1, 6, 2, 3), (1, 1, 1, 1)])
def test_is_average_pooling_at_stride_one(shape, side):
    x = torch.rand(shape)
    wanted = F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
    torch.testing.assert_close(window_mean(x, side), wanted)


def test_autocast_leaves_its_precision():
    x = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = window_mean(x, 5)
    assert found.dtype == x.dtype
    assert torch.equal(found, window_mean(x, 5))


def test_gradients_pass():
    x = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: window_mean(x, 3), x)
