import time

import pytest
import torch

from nrpurify.evaluation import profiler as meter
from nrpurify.evaluation.profiler import Meter


def test_time_and_memory_of_a_block():
    with Meter("cpu") as measured:
        torch.zeros(30_000_000).add_(1)
        time.sleep(0.02)
    assert 0.02 <= measured.seconds < 30
    assert measured.peak_memory_mb > 115


def test_elsewhere_than_on_linux(monkeypatch):
    class Missing:
        def __init__(self, *_):
            raise FileNotFoundError

    monkeypatch.setattr(meter, "Path", Missing)
    with Meter("cpu") as measured:
        pass
    assert measured.peak_memory_mb == pytest.approx(meter._peak_of_process())
    monkeypatch.setitem(__import__("sys").modules, "resource", None)
    with Meter("cpu") as measured:
        pass
    assert measured.peak_memory_mb is None
