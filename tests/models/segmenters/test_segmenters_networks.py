import copy

import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.models.segmenters import as_segmenter
from nrpurify.models.segmenters.segnet import SegNetBasic
from nrpurify.models.segmenters.u2net import U2NetP
from nrpurify.weights.convert_segmenters import u2netp


@pytest.fixture(scope="module")
def segnet():
    torch.manual_seed(0)
    return SegNetBasic().eval()


@pytest.mark.parametrize("size", [(16, 16), (45, 33)])
def test_segnet_keeps_the_size_odd_ones_too(segnet, size):
    with torch.no_grad():
        assert segnet(torch.rand(2, 3, *size)).shape == (2, 11, *size)


def test_segnet_basic_is_the_papers(segnet):
    convs = [m for m in segnet.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convs] == [
        (64, 3, 7, 7),
        *[(64, 64, 7, 7)] * 7,
        (11, 64, 1, 1),
    ]
    assert sum(p.numel() for p in segnet.parameters()) == 1_416_075


def test_segnet_unpools_to_where_the_maxima_were(segnet):
    x = torch.rand(1, 64, 2, 2)
    indices = torch.tensor([0, 3, 9, 14]).view(1, 1, 2, 2).expand(1, 64, 2, 2)
    decoder = segnet.decoders[0]
    seen = []
    hook = decoder.conv.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.no_grad():
        decoder(x, indices, (4, 4))
    hook.remove()
    assert torch.equal(seen[0].flatten(2)[..., [0, 3, 9, 14]], x.flatten(2))
    assert int((seen[0] != 0).sum()) == 4 * 64


def test_segnet_is_differentiable_to_the_image(segnet):
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    (grad,) = torch.autograd.grad(segnet(images).square().sum(), images)
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0


def test_u2net_gives_two_logits_and_takes_its_convolutions_in_graph_order():
    torch.manual_seed(0)
    network = U2NetP().eval()
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 119
    raw = {}
    for number, conv in enumerate(convs):
        raw[f"Conv_{number}.weight"] = conv.weight.detach().numpy()
        raw[f"Conv_{number}.bias"] = conv.bias.detach().numpy()
    state = u2netp(raw)
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 49, 64))
    assert logits.shape == (1, 2, 49, 64)
    assert not logits[:, 0].any()


def test_a_u2net_that_is_too_short_is_told():
    with pytest.raises(KeyError, match=r"encoders\.0\.down\.0\.weight"):
        u2netp({"a.weight": [0.0], "a.bias": [0.0]})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_segnet_in_half_precision_is_near_the_whole(segnet, dtype):
    whole = as_segmenter(segnet, tuple("abcdefghijk"))
    half = as_segmenter(copy.deepcopy(segnet).to(dtype), whole.classes)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = half(images)
    assert logits.dtype == dtype
    torch.testing.assert_close(half(images.to(dtype)), logits, rtol=0.1, atol=0.1)
    torch.testing.assert_close(logits.float(), whole(images), rtol=0.1, atol=0.1)


def test_segnet_of_no_image(segnet):
    assert as_segmenter(segnet, tuple("abcdefghijk"))(torch.rand(0, 3, 32, 32)).shape[0] == 0


def test_pixels_of_8_bits_are_no_images_of_a_segmenter(segnet):
    model = as_segmenter(segnet, tuple("abcdefghijk"))
    with pytest.raises(InputError, match="divide uint8 by 255"):
        model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
