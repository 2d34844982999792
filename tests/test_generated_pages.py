"""The pages that are made from the code are as the code is."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from nrpurify.results import Result, Run, write_run

DOCS = Path(__file__).parent.parent / "docs"
SPEC = importlib.util.spec_from_file_location("pages", DOCS.parent / "tools" / "pages.py")
pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pages)  # puts its folder on the path
plots = importlib.import_module("plots")


@pytest.mark.parametrize("name", pages.PAGES)
def test_page_is_as_generated(name):
    assert (DOCS / name).read_text() == pages.PAGES[name](), "run python tools/pages.py"


@pytest.mark.parametrize("page", pages.marked(), ids=lambda page: page.name)
def test_marked_tables_are_as_generated(page):
    text = page.read_text(encoding="utf-8")
    assert text == pages.tables.fill(text), "run python tools/pages.py"


def is_number(cell):
    return re.match(r"[*−(]*\d", cell.strip()) and len(re.findall("[a-zA-Z]", cell)) < 10


@pytest.mark.parametrize("page", pages.marked(), ids=lambda page: page.name)
def test_tables_of_numbers_are_marked(page):
    if page in {DOCS / "training-log.md", *(DOCS / name for name in pages.PAGES)}:
        return
    rest = pages.tables.MARK.sub("", page.read_text(encoding="utf-8"))
    for block in re.findall(r"(?:^\|.*\n)+", rest, re.MULTILINE):
        rows = [line.strip("|\n ").split("|") for line in block.splitlines()[2:]]
        cells = [cell for row in rows for cell in row[1:] if cell.strip()]
        share = sum(bool(is_number(cell)) for cell in cells) / max(1, len(cells))
        assert share < 0.4, f"a table of numbers without a mark:\n{block}"


@pytest.mark.parametrize("name", plots.PLOTS)
def test_plot_shows_the_committed_results(name):
    _, results, _ = plots.PLOTS[name]
    if not all((pages.kept_results.RESULTS / f"{one}.json").exists() for one in results):
        pytest.skip("no results yet")
    svg = (plots.FIGURES / f"plot-{name}.svg").read_text(encoding="utf-8")
    digest = re.search("<!-- results (\\w+) -->", svg)[1]
    assert digest == plots.sources(results), "run python tools/plots.py"


def test_reference_has_all_public_names():
    import nrpurify

    shown = [
        line.removeprefix("::: nrpurify.")
        for line in (DOCS / "reference.md").read_text().splitlines()
        if line.startswith(":::")
    ]
    assert sorted(shown) == sorted(nrpurify.__all__)


def test_what_was_wanted_is_counted_from_right_answers():
    content = pages.kept_results.load("results")
    victims = ("efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3")
    hits = {
        (cell["defense"], cell["victim"]): cell["hits"].count("1")
        for cell in content["cells"]
        if cell["attack"] == "clean"
    }
    asked = 3 * content["images"]["n"]
    bare, behind = (sum(hits[one, victim] for victim in victims) for one in ("none", "fast"))
    shown = f"{100 * (bare - behind) / asked:.1f}".replace("-", "−")
    assert pages.wanted.clean_cost("efficientnet") == shown
    for eps in (4, 8, 16):
        images = f"ssp {eps}, VGG16"
        assert images in pages.tables.rows("transformations")
        best = max(
            pages.tables.value("transformations", images, spec, "")
            for spec in measured_defenses()
            if spec.partition(":")[0] in ("jpeg", "tvm", "median", "rp")
        )
        behind = pages.tables.value("transformations", images, "fast", "")
        assert pages.wanted.margin(images) == pytest.approx(behind - best)


def measured_defenses():
    return {cell["defense"] for cell in pages.kept_results.load("transformations")["cells"]}


CELL = Result("0", "clean", "", "none", "a", 1.0)


def add(monkeypatch, folder, *more):
    monkeypatch.setattr(sys, "argv", ["pages.py", "add", "name", *map(str, more), str(folder)])
    pages.main()


@pytest.mark.parametrize(
    ("file", "lacks"),
    [
        ("run.json", "1 of 12 results"),
        ("plan.yaml", "no result is there"),
        ("certificates.jsonl", "there is no certify.json"),
    ],
)
def test_an_unfinished_run_is_not_added(tmp_path, monkeypatch, capsys, file, lacks):
    (tmp_path / file).touch()
    if file == "run.json":
        warning = {"kind": "unfinished", "text": "1 of 12 results; and more", "cells": []}
        write_run(tmp_path, Run((CELL,), warnings=[warning]))
    monkeypatch.setattr(pages.kept_results, "write", lambda *_: pytest.fail("it was added"))
    with pytest.raises(SystemExit):
        add(monkeypatch, tmp_path)
    said = capsys.readouterr().err
    assert f"{str(tmp_path)!r} holds an unfinished run: {lacks}; give its command again" in said


def test_certificates_of_one_run_are_added_at_a_time(tmp_path, monkeypatch, capsys):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        (folder / "certify.json").write_text("{}")
    monkeypatch.setattr(pages.kept_results, "write", lambda *_: pytest.fail("one was added"))
    with pytest.raises(SystemExit):
        add(monkeypatch, *folders)
    assert "added one by one" in capsys.readouterr().err


def test_a_finished_run_is_added(tmp_path, monkeypatch):
    write_run(tmp_path, Run((CELL,)))
    monkeypatch.setattr(pages.kept_results, "RESULTS", tmp_path)
    add(monkeypatch, tmp_path)
    (cell,) = pages.kept_results.load("name")["cells"]
    assert cell["attack"] == "clean"
