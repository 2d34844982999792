"""The generated run, fresh for each test."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from nrpurify.report import parse_run

_spec = spec_from_file_location("fake_run", Path(__file__).with_name("fake_run.py"))
_fake = module_from_spec(_spec)
_spec.loader.exec_module(_fake)


@pytest.fixture
def raw():
    return _fake.fake_run()


@pytest.fixture
def run(raw):
    return parse_run(raw)


@pytest.fixture
def cell():
    """Make a cell's dictionary: ``cell(number, **values)``."""
    return _fake.cell


@pytest.fixture
def small(cell):
    """A run of the given cells, each a dictionary of what is not the default."""

    def make(*cells, **others):
        given = {"attack": "ssp", "defense": "none", "victim": "v"}
        made = [cell(i, **{**given, **values}) for i, values in enumerate(cells)]
        return parse_run({"cells": made, **others})

    return make


@pytest.fixture
def detection_cells():
    return _fake.detection_cells()


@pytest.fixture
def run_folder(tmp_path, raw):
    (tmp_path / "run.json").write_text(json.dumps(raw))
    return tmp_path
