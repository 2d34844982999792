"""The code of docs/architecture.md runs, from top to bottom."""

import re
from pathlib import Path

import pytest
import torch

from nrpurify.core.registry import Registry
from nrpurify.defenses.registry import DEFENSES
from nrpurify.purifiers.registry import PURIFIERS

PAGE = Path(__file__).parent.parent / "docs" / "architecture.md"


@pytest.fixture
def clean_registries(monkeypatch):
    """What the page registers is gone afterwards."""
    registries: list[Registry] = [DEFENSES, PURIFIERS]
    for registry in registries:
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.mark.usefixtures("clean_registries")
def test_the_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    torch.manual_seed(0)
    code = "\n".join(blocks)
    exec(compile(code, str(PAGE), "exec"), {"__name__": "architecture_page"})


def test_the_files_that_the_page_names_exist():
    package = PAGE.parent.parent / "src" / "nrpurify"
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", PAGE.read_text("utf-8"))
    missing = [
        name
        for name in named
        if not any((root / name).exists() for root in (package, PAGE.parent.parent))
    ]
    assert named
    assert not missing
