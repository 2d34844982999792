"""Results are written and read without loss; schema 1 of nrpurify 0.1.0 is read too."""

import json
from dataclasses import replace

import pytest

from nrpurify import results
from nrpurify.core.errors import InputError
from nrpurify.results import Result, Run, paired_bootstrap, result_id, share, variants

CELL = Result(
    "ssp-16-fast-v-accuracy-0", "ssp", "oblivious transfer", "fast", "v", 0.5,
    label="SSP of the paper", eps=16 / 255, norm="linf", interval=[0.2, 0.8], n=4, steps=100,
    precision="fp32", settings={"layers": ["conv3_3"]}, notes=["one"],
)  # fmt: skip
DECIDES = {"attack": "ssp", "eps": 8 / 255, "defense": "fast", "victim": "v", "metric": "accuracy"}


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = Run((CELL,), name="x", seed=3, warnings=[{"kind": "k", "text": "t", "cells": []}])
    results.write_run(tmp_path, run)
    raw = json.loads((tmp_path / "run.json").read_text())
    assert (raw["schema"], raw["cells"][0]["label"]) == (2, "SSP of the paper")
    assert not {"paper", "plugins", "left_out"} & raw.keys()
    assert results.read_run(tmp_path) == run


def test_files_of_0_1_0_are_read(tmp_path):
    old = {k: v for k, v in CELL.to_dict().items() if k not in ("label", "norm", "precision")}
    old["settings"] = {"layers": ["conv3_3"], "precision": "bf16"}
    (tmp_path / "run.json").write_text(json.dumps({"cells": [old], "seed": 0}))
    (cell,) = results.read_run(tmp_path).cells
    assert (cell.label, cell.norm, cell.precision) == ("", "linf", "bf16")
    assert (cell.value, cell.interval, cell.notes) == (0.5, (0.2, 0.8), ("one",))
    (tmp_path / "run.json").write_text(json.dumps({"schema": 3, "cells": []}))
    with pytest.raises(InputError, match="has the schema 3; expected 1 or 2"):
        results.read_run(tmp_path)


def test_fields_are_readable_by_key_as_in_0_1_0():
    assert CELL["value"] == CELL.value == {**CELL}["value"]
    assert CELL.get("hits", "none") == "none"
    with pytest.raises(KeyError):
        CELL["to_dict"]


@pytest.mark.parametrize("change", [{"eps": 0.1}, {"metric": "top5"}, {"settings": {"steps": 2}}])
def test_an_id_changes_with_all_that_decides(change):
    name = result_id(DECIDES)
    assert name.startswith("ssp-8-fast-v-accuracy-")
    assert result_id(dict(reversed(DECIDES.items()))) == name
    assert result_id(DECIDES | change) != name


def test_variants_take_the_label_or_the_settings_that_differ():
    plain = replace(CELL, label="")
    other = replace(plain, settings={"layers": ["conv1_2"], "random": True})
    assert variants([plain, other]) == ["layers conv3_3", "layers conv1_2"]
    assert variants([plain, replace(plain, settings={**plain.settings, "zero": 1.0})]) == ["", ""]
    assert variants([CELL, other]) == ["SSP of the paper", "layers conv1_2"]


def test_variants_differ_wherever_a_setting_does():
    def made(**settings):
        return replace(CELL, label="", settings=settings)

    near = [made(momentum=momentum) for momentum in (1.0, 0.9999, 0.5)]
    assert variants(near) == ["momentum 1.0", "momentum 0.9999", "momentum 0.5"]
    folders = [made(attacked=name, attacked_sha256=name) for name in ("first", "second")]
    assert variants(folders) == ["attacked first", "attacked second"]


def test_shares_and_paired_differences_have_intervals():
    half = share([True, False] * 50)
    assert (half.value, half.n) == (0.5, 100)
    assert 0.4 < half.low < 0.41 < 0.59 < half.high < 0.6
    better, worse = [1, 1, 0, 1] * 25, [1, 0, 0, 1] * 25
    found = paired_bootstrap(better, worse, seed=1)
    assert found.value == 0.25
    assert 0.15 < found.low < 0.25 < found.high < 0.35
    assert found == paired_bootstrap(better, worse, seed=1)
    assert paired_bootstrap(better, better).high == 0
    with pytest.raises(InputError, match="100 and 1 values given"):
        paired_bootstrap(better, [1])
