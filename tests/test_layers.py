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


def named(node):
    """All that an import statement may name: modules, and members of modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]


def imports_of(node, *, types):
    """The import statements below a node, those in functions too.

    Args:
        node: Of a syntax tree.
        types: Those under ``if TYPE_CHECKING`` too.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not types and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from imports_of(other, types=types)
        else:
            yield from imports_of(child, types=types)


def modules():
    """The syntax tree of each module of the package by its name."""
    for path in ROOT.rglob("*.py"):
        parts = ("nrpurify", *path.relative_to(ROOT).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield ".".join(parts).removesuffix(".__init__"), tree


def imports():
    """Pairs of packages, the first of which imports from the second."""
    found = defaultdict(set)
    for own, tree in modules():
        package = own.split(".")[1:2]
        for node in imports_of(tree, types=True):
            others = {tuple(name.split(".")[1:2]) for name in named(node) if "nrpurify." in name}
            found["".join(package)] |= {other for (other,) in others} - set(package)
    return found


def circles(edges):
    """Modules that import themselves by way of others, found by removing all that is in no circle.

    Args:
        edges: The modules that each module imports.
    """
    left = {own: set(others) & set(edges) - {own} for own, others in edges.items()}
    while True:
        ends = {own for own, others in left.items() if not others}
        ends |= set(left) - {other for others in left.values() for other in others}
        if not ends:
            return left
        left = {own: others - ends for own, others in left.items() if own not in ends}


def test_packages_import_only_what_stands_below_them():
    found = imports()
    beyond = {(own, other) for own, allowed in ALLOWED.items() for other in found[own] - allowed}
    assert not beyond


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b": {"c"}, "c": {"b"}}


def test_no_module_imports_itself_by_way_of_others():
    """Imports in functions count too; a package's names that load on use are no imports."""
    known = dict(modules())

    def imported(node):
        found = [name for name in named(node) if name in known]
        return found[1:] or found  # ``from package import module`` names the module

    edges = {
        own: {name for node in imports_of(tree, types=False) for name in imported(node)}
        for own, tree in known.items()
    }
    assert not circles(edges)


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


BUDGETS = {"purify": 49, "attack": 73}
"""Modules of the package after a command on one image; more only where a module was parted."""


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
    costly = {"sympy", "torchvision", "timm"} & set(found)  # each costs a third of a second
    assert costly <= set(modules_after("import torch"))  # torch 2.6 imports sympy itself


@pytest.mark.parametrize("package", ["results", "report"])
def test_results_and_reports_need_no_torch(package):
    code = f"import nrpurify.{package}, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
