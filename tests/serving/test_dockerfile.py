"""The image is not built here: a linter and a reading must do."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from nrpurify.cli.app import app

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "Dockerfile").read_text("utf-8")


def instructions(name):
    return re.findall(rf"^{name} (.*)$", TEXT, re.MULTILINE)


def test_the_linter_finds_nothing():
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
        "hadolint"
    )
    if found is None:
        pytest.skip("no hadolint here")
    done = subprocess.run(
        [found, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_it_copies_what_is_there_and_runs_without_root():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in instructions("COPY"):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored
    assert TEXT.index("\nUSER 10001") < TEXT.index("\nENTRYPOINT")
    assert "--uid 10001" in TEXT


def test_the_command_exists():
    (entry,), (options,) = instructions("ENTRYPOINT"), instructions("CMD")
    words = [*json.loads(entry), *json.loads(options)]
    assert words[0] == "nrpurify"
    command = typer.main.get_command(app).commands[words[1]]
    command.make_context(words[1], words[2:])


def test_the_image_has_the_version_that_the_package_wants():
    (base,) = instructions("FROM")
    assert base in ("python:3.11-slim", "python:3.12-slim", "python:3.13-slim")
