"""The code of docs/architecture.md runs, from top to bottom."""

import re
from pathlib import Path

import pytest
import torch

from nrpurify.core.registry import Registry
from nrpurify.defenses.registry import DEFENSES
from nrpurify.evaluation.metrics import METRICS
from nrpurify.evaluation.tasks import TASKS
from nrpurify.models.registry import VICTIMS
from nrpurify.purifiers.registry import PURIFIERS

NAME = "architecture_page"
PAGE = Path(__file__).parent.parent / "docs" / "architecture.md"


@pytest.fixture
def clean_registries():
    """What the page registers is gone afterwards."""
    yield
    registries: list[Registry] = [DEFENSES, PURIFIERS, VICTIMS, TASKS, METRICS]
    for registry in registries:
        for name, entry in list(registry._entries.items()):
            if entry.origin == NAME:
                del registry._entries[name]


@pytest.mark.usefixtures("clean_registries")
def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    torch.manual_seed(0)
    code = "\n".join(blocks)
    exec(compile(code, str(PAGE), "exec"), {"__name__": NAME})


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
