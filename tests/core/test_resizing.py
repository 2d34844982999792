import pytest
import torch

from nrpurify.core import resizing


@pytest.mark.parametrize(
    ("sides", "goal"),
    [((70, 75), (32, 48)), ((16, 24), (31, 29)), ((17, 17), (17, 17)), ((129, 5), (8, 8))],
)
def test_matrices_give_what_interpolation_gives(monkeypatch, sides, goal):
    images = torch.rand(2, 3, *sides)
    expected = resizing.resize(images, goal)
    monkeypatch.setattr(resizing, "exporting", lambda: True)
    torch.testing.assert_close(resizing.resize(images, goal), expected, atol=1e-5, rtol=0)


def test_half_precision_stays():
    assert resizing.resize(torch.rand(1, 3, 8, 8).half(), (4, 4)).dtype == torch.float16
