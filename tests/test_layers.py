"""Who may import whom: the table of docs/architecture.md."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch

import nrpurify
from nrpurify.core.images import write_png

ROOT = Path(nrpurify.__file__).parent
ALLOWED = {
    "core": set(),
    "results": {"core"},
    "weights": {"core"},
    "models": {"core", "weights"},
    "purifiers": {"core"},
    "defenses": {"core", "purifiers"},
    "attacks": {"core", "weights", "models"},
    "data": {"core", "models"},
    "training": {"core", "weights", "models", "purifiers", "defenses", "attacks", "data"},
    "evaluation": {
        *("core", "results", "weights", "models", "purifiers", "defenses", "attacks", "data")
    },
}
BELOW = set(ALLOWED) - {"training", "evaluation"}
ALLOWED |= {
    "batch": BELOW | {"evaluation"},
    "report": {"core", "results"},
    "export": {"core", "defenses", "models", "purifiers"},
    "interop": {"core", "attacks", "defenses"},
    "paper": BELOW | {"training", "evaluation"},
}
ALLOWED["serving"] = ALLOWED["batch"] - {"results", "weights", "data"} | {"batch"}
ALLOWED["cli"] = set(ALLOWED) - {"interop"}
"""The packages that each package may import from; docs/architecture.md has the same table."""
BREACHES: set[tuple[str, str]] = set()
"""What is left to mend; it may only shrink."""


def imports():
    """Pairs of packages, the first of which imports from the second."""
    found = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "nrpurify":
                names = [f"nrpurify.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                head, _, rest = name.partition(".")
                other = rest.split(".")[0]
                if head == "nrpurify" and other and other != own:
                    found[own].add(other)
    return found


def test_packages_import_only_what_stands_below_them():
    found = imports()
    beyond = {(own, other) for own, allowed in ALLOWED.items() for other in found[own] - allowed}
    assert beyond == BREACHES


def test_the_page_has_the_same_table():
    """Each row of docs/architecture.md: package, contents, imports."""
    page = Path(__file__).parent.parent / "docs" / "architecture.md"
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", page.read_text("utf-8"), re.MULTILINE)
    assert {name: set(re.findall(r"\w+", imported)) for name, imported in rows} == ALLOWED


def test_every_package_has_a_row():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == set(ALLOWED)


def modules_after(statement):
    """The modules that a fresh process holds after a statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_the_package_itself_imports_no_torch():
    code = "import nrpurify, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


BUDGETS = {"purify": 45, "attack": 70}
"""Modules of the package after a command on one image; they may only shrink."""


@pytest.mark.parametrize(
    ("command", "options"), [("purify", "--purifier tiny"), ("attack", "--name noise")]
)
def test_a_command_imports_only_what_it_needs(command, options, tmp_path):
    pytest.importorskip("typer")
    write_png(tmp_path / "a.png", torch.full((3, 16, 16), 0.5))
    words = [command, str(tmp_path / "a.png"), str(tmp_path / "out"), *options.split()]
    found = modules_after(f"from nrpurify.cli import main; main({words!r})")
    own = sorted(name for name in found if name.partition(".")[0] == "nrpurify")
    assert "nrpurify.batch" in own
    assert len(own) <= BUDGETS[command], own
    assert not {"sympy", "torchvision", "timm"} & set(found)  # each costs a third of a second


@pytest.mark.parametrize("package", ["results", "report"])
def test_results_and_reports_need_no_torch(package):
    code = f"import nrpurify.{package}, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
