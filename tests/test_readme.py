"""The commands and names that the documents show must exist."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

import nrpurify
from nrpurify.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands(page):
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("nrpurify ")]


CASES = [pytest.param(c, id=" ".join(c)) for page in PAGES for c in commands(page)]


@pytest.mark.parametrize("words", CASES)
def test_command_parses(words):
    command = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[1], rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_public_names_exist(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
        for name in re.findall(r"\bnrpurify\.(\w+)", block):
            assert name in nrpurify.__all__ or find_spec(f"nrpurify.{name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks(page, "sh"):
        for target in re.findall(r"^make (?:\w+=\S+ )?([\w-]+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_documents_show_commands():
    assert len(CASES) >= 6
