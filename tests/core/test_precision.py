import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nrpurify import attacks
from nrpurify.core.errors import InputError
from nrpurify.core.precision import autocast, bf16_is_fast
from nrpurify.core.versions import environment
from nrpurify.models.features import FeatureExtractor
from nrpurify.purifiers import Gate, Purifier, Strength, build_purifier

CPU = torch.device("cpu")
BF16 = torch.bfloat16


def product_dtype(amp):
    with autocast(CPU, amp):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(
    ("amp", "dtype"), [(True, torch.bfloat16), (False, torch.float32), (0, torch.float32)]
)
def test_autocast_follows_the_flag(amp, dtype):
    assert product_dtype(amp) == dtype


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_asks_the_hardware(monkeypatch, fast, dtype):
    monkeypatch.setattr("nrpurify.core.precision.bf16_is_fast", lambda device: fast)
    assert product_dtype("auto") == dtype


def test_bf16_is_fast_on_a_device_that_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert bf16_is_fast(torch.device("cuda")) is True
    assert bf16_is_fast(torch.device("meta")) is False
    assert bf16_is_fast(CPU) is torch.cpu._is_avx512_bf16_supported()


@pytest.mark.parametrize("amp", ["bf16", None, 2])
def test_other_values_are_refused(amp):
    with pytest.raises(InputError, match=r"amp is .*expected True, False or 'auto'"):
        autocast(CPU, amp)


class Seen(TorchDispatchMode):
    """Records every convolution: dtype, and the widths of its input and output."""

    def __init__(self):
        super().__init__()
        self.convolutions = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.convolutions.append((args[0].dtype, args[0].shape[-1], result.shape[-1]))
        if func is torch.ops.aten.convolution_backward.default:
            self.convolutions.append((args[0].dtype, args[1].shape[-1], args[0].shape[-1]))
        return result

    def check(self):
        """Some are narrow, and none of these is in bf16."""
        narrow = [dtype for dtype, *widths in self.convolutions if min(widths) == 1]
        assert narrow
        assert BF16 not in narrow


LAYERS = {
    "3x3": nn.Conv2d(3, 4, 3, padding=1),
    "3x3 stride 2": nn.Conv2d(3, 4, 3, 2, 1),
    "4x4 stride 2": nn.Conv2d(3, 4, (3, 4), stride=(1, 2), padding=(1, 1)),
    "1x1": nn.Conv2d(3, 4, 1),
    "dilated": nn.Conv2d(3, 4, 3, 1, 2, 2),
    "dilated, not padded": nn.Conv2d(3, 4, 3, 1, (1, 0), dilation=(1, 2)),
    "same": nn.Conv2d(3, 4, 3, padding="same"),
    "valid": nn.Conv2d(3, 4, (1, 3), padding="valid"),
    "groups": nn.Conv2d(3, 3, 3, 2, 1, groups=3),
    "transposed": nn.ConvTranspose2d(3, 4, 2, stride=2),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_convolutions_of_width_1_are_in_fp32_forward_and_backward(layer):
    for width in (*range(5, 0, -1), 9):
        images = torch.rand(2, 3, 6, width, requires_grad=True)
        try:
            expected = layer(images)
        except RuntimeError:
            continue  # smaller than the kernel
        with Seen() as seen:
            with autocast(CPU, True):
                result = layer(images)
            result.float().sum().backward()
        narrow = 1 in (width, result.shape[-1])
        assert [dtype is BF16 for dtype, *_ in seen.convolutions] == [not narrow] * 2
        assert result.dtype is BF16
        torch.testing.assert_close(result.float(), expected, atol=2e-2, rtol=2e-2)


def test_keywords_other_dimensions_and_bf16_weights_count_too():
    line, cube = torch.rand(1, 2, 3), torch.rand(1, 2, 3, 4, 3)
    with Seen() as seen, autocast(CPU, True):
        F.conv1d(input=line, weight=torch.rand(2, 2, 3))
        F.conv1d(line, weight=torch.rand(2, 2, 3), padding=1)
        F.conv3d(cube, torch.rand(2, 2, 3, 1, 3), stride=(1, 1, 2))
        F.conv1d(line, torch.rand(2, 2, 2), None, 1, 0, 2)
        with torch.autocast("cpu", enabled=False):
            F.conv1d(line.bfloat16(), torch.rand(2, 2, 3).bfloat16())
    assert len(seen.convolutions) == 5
    seen.check()


def test_what_is_in_fp32_anyway_is_left_alone():
    with autocast(CPU, True), torch.autocast("cpu", enabled=False):
        assert LAYERS["valid"](torch.rand(1, 3, 3, 3)).dtype is torch.float32


def test_compiled_networks_run_inside():
    compiled = torch.compile(LAYERS["3x3 stride 2"], backend="eager", fullgraph=True)
    images = torch.rand(1, 3, 4, 2)
    with torch.no_grad(), autocast(CPU, True):
        result = compiled(images)
    assert torch.equal(result, LAYERS["3x3 stride 2"](images).to(BF16))


@pytest.mark.parametrize("sides", [(100, 16), (514, 16), (5, 7)])
def test_gate_and_purifier_have_no_narrow_bf16_convolution(sides):
    purifier = build_purifier("micro")
    strong = Purifier(purifier.network, purifier.card, Strength(2.0, 1.5), Gate())
    with Seen() as seen:
        strong.purify(torch.rand(1, 3, *sides), amp=True)
    seen.check()


def test_attacks_on_narrow_features_have_none(body):
    small = nn.Sequential(body, nn.AvgPool2d(4), nn.Conv2d(12, 12, 3, 2, 1), nn.Flatten())
    with Seen() as seen:
        attacks.pgd(small, torch.rand(2, 3, 8, 8), torch.tensor([1, 2]), steps=2, amp=True)
        attacks.ssp(FeatureExtractor(small, ["2"]), torch.rand(1, 3, 8, 8), steps=2, amp=True)
    seen.check()


@pytest.mark.skipif(not bf16_is_fast(CPU), reason="bf16 is not fast here: too slow for all sizes")
@given(
    height=st.one_of(st.integers(1, 40), st.integers(510, 520)),
    width=st.one_of(st.integers(1, 40), st.integers(510, 520)),
)
@settings(deadline=None, max_examples=10, derandomize=True)
def test_bf16_is_fp32_to_rounding_and_the_same_each_time(height, width):
    torch.manual_seed(0)
    purifier = build_purifier("micro")
    gate = Gate()
    images = torch.rand(1, 3, height, width)
    purified = (images + 0.05 * torch.randn(images.shape)).clamp(0, 1)

    def answers(amp):
        heap = [torch.full((size,), float("nan")) for size in (64, 1000, 20_000, 100_000)]
        del heap  # so memory outside of tensors is NaN
        with torch.no_grad(), autocast(CPU, amp):
            return purifier(images).float(), gate.logits(images, purified).float()

    first, second, exact = answers(True), answers(True), answers(False)
    for one, again, right in zip(first, second, exact, strict=True):
        assert torch.equal(one, again)
        torch.testing.assert_close(one, right, atol=0.02, rtol=0.02)


def test_the_record_names_the_instructions_that_torch_uses(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert environment()["processor"] == "AVX2, no bf16"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert environment()["processor"] == "AVX2, bf16: amx_tile"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    assert environment("cuda:1")["processor"] == "AVX2, bf16: amx_tile; a GPU"
