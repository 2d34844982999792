import pytest
import torch

from nrpurify.errors import InputError
from nrpurify.precision import autocast, bf16_is_fast

CPU = torch.device("cpu")


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
    monkeypatch.setattr("nrpurify.precision.bf16_is_fast", lambda device: fast)
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
