import json

import pytest

from nrpurify.core.errors import InputError
from nrpurify.report import parse_run, read_run

KIND = ("classify", "accuracy")


def test_a_run_is_read(run_folder, raw):
    run = read_run(run_folder)
    assert len(run.cells) == len(raw["cells"])
    assert run.title == "Defenses against transfer and adaptive attacks"
    assert run.warnings[0]["kind"] == "single draw"
    assert run.kinds() == [KIND]


def test_title_falls_back(small):
    assert small({"value": 0.5}, name="grid").title == "grid"
    assert small({"value": 0.5}).title == "Evaluation"


def test_unknown_keys_are_left_alone_and_defaults_hold():
    values = dict.fromkeys(("id", "attack", "threat", "defense", "victim"), "x")
    (cell,) = parse_run({"cells": [{**values, "value": 1, "later": []}]}).cells
    assert cell.kind == KIND


def test_classification_comes_first(raw, detection_cells):
    raw["cells"] = [*detection_cells, *raw["cells"]]
    assert parse_run(raw).kinds() == [KIND, ("detect", "mAP50")]


@pytest.mark.parametrize("content", [[], {}, {"cells": 1}])
def test_no_cells(content):
    with pytest.raises(InputError, match="it has no cells"):
        parse_run(content)


def test_strips_or_the_papers_numbers_are_enough():
    assert parse_run({"cells": [], "strips": [{"images": []}]}).cells == ()
    assert parse_run({"cells": [], "paper": [{"row": "x"}]}).kinds() == []
    with pytest.raises(InputError, match="neither cells, strips nor the paper's numbers"):
        parse_run({"cells": [], "strips": []})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": 1.5}, r"cell 0: value is 1\.5; expected a number in \[0, 1\]"),
        ({"value": float("nan")}, "value is nan"),
        ({"value": "0.5"}, "value is '0.5'; expected int or float"),
        ({"eps": 16}, "eps is 16; expected a number in"),
        ({"interval": [0.1]}, r"interval is \[0\.1\]; expected \[low, high\]"),
        ({"interval": [0.1, None]}, r"interval\[1\] is None"),
        ({"interval": ["a", 1]}, r"interval\[0\] is 'a'"),
        ({"notes": "x"}, "notes is 'x'; expected list"),
    ],
)
def test_bad_cells_are_named(raw, change, message):
    raw["cells"][0].update(change)
    with pytest.raises(InputError, match=message):
        parse_run(raw)


def test_cells_that_lack_something(raw):
    del raw["cells"][3]["victim"], raw["cells"][3]["value"]
    with pytest.raises(InputError, match="cell 3 lacks victim, value"):
        parse_run(raw)
    raw["cells"][3] = 7
    with pytest.raises(InputError, match="cell 3 is 7; expected an object"):
        parse_run(raw)


def test_lists_of_objects(raw):
    raw["warnings"] = ["oh"]
    with pytest.raises(InputError, match="warnings is no list of objects"):
        parse_run(raw)


def test_no_run_there(tmp_path):
    with pytest.raises(InputError, match=r"no run\.json in"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="it is no JSON"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"cells": []}))
    with pytest.raises(InputError, match=r"cannot report .*run\.json': it has neither cells"):
        read_run(tmp_path)


def test_paths_of_checkpoints_are_shortened_while_they_differ(small):
    specs = ["hgd:checkpoint=/a/b/hgd/purifier.safetensors", "/a/b/own/purifier.safetensors"]
    shared = {"value": 0.5, "eps": 8 / 255}
    run = small(*({**shared, "defense": spec} for spec in [*specs, "none", "jpeg:quality=75"]))
    assert [cell.defense for cell in run.cells] == [
        *("hgd:checkpoint=hgd/purifier.safetensors", "own/purifier.safetensors"),
        *("none", "jpeg:quality=75"),
    ]
    twins = [
        "/x/run/purifier.safetensors",
        "/y/run/purifier.safetensors+fast",
        "/y/run/purifier.safetensors",
    ]
    run = small(*({**shared, "defense": spec} for spec in twins))
    assert [cell.defense for cell in run.cells] == [
        *(twins[0], "run/purifier.safetensors+fast", twins[2])
    ]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"title": "\ud800"}, r"it holds '\\ud800', half of a character"),
        ({"images": [1]}, r"images is \[1\]; expected an object"),
        ({"warnings": [{"cells": 3}]}, "a warning has the cells 3; expected a list of ids"),
        ({"warnings": [{"cells": [[1]]}]}, r"a warning has the cells \[\[1\]\]"),
    ],
)
def test_other_parts_are_checked(raw, part, message):
    with pytest.raises(InputError, match=message):
        parse_run({**raw, **part})


def test_numbers_that_no_float_holds(raw):
    raw["cells"][0]["seconds"] = 10**400
    with pytest.raises(InputError, match="cell 0: seconds has 401 digits"):
        parse_run(raw)


def test_nested_without_end(tmp_path):
    (tmp_path / "run.json").write_text('{"cells": ' + "[" * 100_000)
    with pytest.raises(InputError, match="it is no JSON"):
        read_run(tmp_path)


def test_quoted_paths_are_shortened_as_a_whole(small):
    run = small(
        {"value": 0.5, "eps": 0.1, "defense": 'hgd:checkpoint="/a+b/c,d/x/y.safetensors"+jpeg'}
    )
    assert run.cells[0].defense == 'hgd:checkpoint="x/y.safetensors"+jpeg'


def test_file_names_that_are_no_utf8_are_shown(raw):
    raw["strips"] = [{"name": "caf\udce9.jpg"}]
    run = parse_run(raw)
    assert run.items("strips") == [{"name": "caf\N{REPLACEMENT CHARACTER}.jpg"}]
    assert len(run.cells) == len(raw["cells"])
