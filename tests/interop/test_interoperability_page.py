"""The code of docs/interoperability.md, run from top to bottom on a small random model."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from nrpurify.interop.libraries import library

PAGE = Path(__file__).parents[2] / "docs" / "interoperability.md"
LIBRARIES = ("torchattacks", "pyautoattack", "foolbox", "art.attacks.evasion")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_runs(images):
    for name in LIBRARIES:
        pytest.importorskip(name, exc_type=ImportError)
        library(name, name, name)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
    names = {"model": model, "images": images, "labels": torch.tensor([1, 0, 4])}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for block in blocks:
        exec(block, names)
    assert len(blocks) >= 6
    assert (names["attacked"] - images).abs().max() > 0
    assert names["success"].shape == (1, 3)
    assert names["classifier"].preprocessing_defences
