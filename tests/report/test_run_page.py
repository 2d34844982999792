import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser

import pytest
import torch

from nrpurify.core.errors import ImageError, InputError, MissingExtraError
from nrpurify.core.images import write_png
from nrpurify.report import parse_run, render_run, write_report
from nrpurify.report.environment import environment

EVIL = "<script>alert('x')</script>\"&|_%"
VOID = {"meta", "link", "img", "br", "wbr"}


class Page(HTMLParser):
    """Collects elements and checks that they close in order."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def text_of(html):
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_bold_is_the_best_where_defenses_differ(small):
    attack = {"threat": "oblivious transfer", "eps": 0.1}
    run = small(
        {**attack, "value": 0.9},
        {**attack, "value": 0.4, "defense": "a"},
        {**attack, "value": 0.5, "defense": "b"},
        {"attack": "clean", "value": 0.5, "defense": "a"},
        {"attack": "clean", "value": 0.5, "defense": "b"},
    )
    first = render_run(run).split("<main>")[0]
    assert re.findall(r"<b [^>]*>(.*?)</b>", first) == ["50%"]


def test_the_first_screen(run):
    html = render_run(run)
    first = text_of(html.split("<main>")[0])
    assert "Against oblivious attacks (mean of 3 attacks, ε = 16/255) fast keeps the most" in first
    for threat in ("BPDA", "Full gradient", "EOT", "Score-based"):
        assert threat in first
    assert first.index("Full gradient") < first.index("attack by attack")
    assert "50 images of 224 pixels from photos, 4 victims" in first
    assert "1 warning" in first


def test_every_colored_cell_has_its_number(run):
    html = render_run(run)
    cells = re.findall(r"<td[^>]*data-heat=[^>]*>(.*?)</td>", html, re.DOTALL)
    assert len(cells) > len(run.cells)
    assert all(re.search(r"\d%", cell) for cell in cells)
    shades = re.findall(r'data-heat="(\w+)" style="--a: ([\d.]+)"', html)
    assert {side for side, _ in shades} == {"more", "less"}
    assert all(0 <= float(alpha) <= 1 for _, alpha in shades)


def test_everything_is_on_the_page(run):
    page = Page(render_run(run))
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {f"cell-{cell.id}" for cell in run.cells} <= ids
    links = [a["href"] for a in page.all("a") if a["href"].startswith("#")]
    assert len(links) == 5  # to the warnings, and four of a warning's cells
    assert all(link[1:] in ids for link in links)
    assert len([a for a in page.all("span") if a.get("class") == "bar"]) > len(run.cells)
    assert len([a for a in page.all("svg") if a.get("class") == "plot"]) == 2
    text = text_of(render_run(run))
    assert "single draw fast:mode=dynamic,seed=1 is random but was judged on one draw" in text
    assert "paper 38.3% not measured" in text
    assert '"vgg16"' in render_run(run).replace("&#34;", '"')


def test_warnings_name_cells_in_words(run):
    html = render_run(run)
    section = html.split('<ul class="warnings">')[1].split("</ul>")[0]
    assert "ssp 2/255 on efficientnet_lite0, fast:mode=dynamic,seed=1" in text_of(
        section.replace("<wbr>", "")
    )
    assert not re.search(r">c\d{3}<", section)


def test_warnings_name_cells_of_several_metrics_once(raw):
    name = raw["warnings"][0]["cells"][0]
    cell = next(cell for cell in raw["cells"] if cell["id"] == name)
    raw["cells"].append({**cell, "id": "another", "metric": "top5"})
    raw["warnings"][0]["cells"] = [name, "another"]
    html = render_run(parse_run(raw))
    section = html.split('<ul class="warnings">')[1].split("</ul>")[0]
    assert section.count("<a ") == 1


def test_the_page_makes_no_request_and_runs_one_script(run):
    html = render_run(run)
    page = Page(html)
    for _, attrs in page.elements:
        assert "src" not in attrs or attrs["src"].startswith("data:")
        assert attrs.get("href", "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in attrs)
    assert not re.search(r"url\(|@import|https?:", html)
    (policy,) = (m["content"] for m in page.all("meta") if "default-src" in m.get("content", ""))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_json_download_is_the_run(run, raw):
    (link,) = [a for a in Page(render_run(run)).all("a") if "download" in a]
    assert json.loads(base64.b64decode(link["href"].split(",")[1])) == raw


def test_everything_is_escaped(raw):
    raw["title"] = EVIL
    raw["warnings"] = [{"kind": EVIL, "text": EVIL, "cells": [EVIL]}]
    raw["paper"] = [{"where": EVIL, "row": EVIL, "column": EVIL, "value": 1}]
    for cell in raw["cells"][:40]:
        for key in ("attack", "victim", "defense", "surrogate", "rounding", "metric"):
            cell[key] = EVIL
        cell["notes"] = [EVIL]
    raw["cells"][0]["id"] = raw["settings"]["x"] = EVIL
    html = render_run(parse_run(raw))
    assert len(Page(html).all("script")) == 1
    assert "<script>alert" not in html


def test_other_tasks_have_a_table_of_their_own(raw, detection_cells):
    raw["cells"] += detection_cells
    html = render_run(parse_run(raw))
    first = text_of(html.split("<main>")[0])
    assert "fast keeps the most mAP50, 44%, where no defense leaves 10%" in first
    assert "mAP50 (detect), mean over victims" in first
    assert html.count('class="matrix sortable"') == 2


def test_missing_numbers_and_partial_means_are_marked(small):
    attack = {"threat": "oblivious transfer", "eps": 0.1}
    run = small(
        {**attack, "value": 0.5},
        {**attack, "value": 0.5, "victim": "w"},
        {**attack, "value": 0.5, "defense": "half"},
        {"attack": "clean", "value": 0.5, "interval": None},
    )
    html = render_run(run)
    assert "1 of 2" in text_of(html.split("<main>")[0])
    assert 'title="not measured"' in html


def test_a_run_of_pictures_alone_has_its_title_and_no_empty_tables():
    strips = [{"name": "a.png", "label": "", "panels": []}]
    run = {"title": "Pictures", "cells": [], "strips": strips, "images": {"n": 4}, "seed": 7}
    page = render_run(parse_run(run))
    Page(page)
    assert "<h1>Pictures</h1>" in page
    assert "4 images, seed 7" in page
    assert "All cells" not in page
    assert "bold: the best" not in page


def test_strips(raw, tmp_path):
    panels = [
        {"title": "Clean", "file": "a--clean.png", "caption": "cat", "correct": True},
        {"title": "Attacked", "file": "strips/a--attacked.png", "caption": "dog", "correct": False},
        {"title": "Purified", "file": "a--clean.png", "caption": "sharper"},
    ]
    for name in ("clean", "attacked"):
        write_png(tmp_path / "strips" / f"a--{name}.png", torch.rand(3, 4, 4))
    raw["strips"] = [{"name": "a.png", "label": "cat", "panels": panels}]
    (tmp_path / "run.json").write_text(json.dumps(raw))
    html = write_report(tmp_path).read_text()
    assert "Clean ✓ cat Attacked ✗ dog Purified sharper" in text_of(html)
    assert len(Page(html).all("img")) == 3


@pytest.mark.parametrize(
    ("panel", "error", "message"),
    [
        ({"file": "../../secret.png"}, InputError, "expected a file inside the run folder"),
        ({"file": "/etc/x.png"}, InputError, "expected a file inside the run folder"),
        ({"file": "gone.png"}, ImageError, "gone.png"),
        ({"title": "Clean"}, InputError, "lacks 'file'"),
        (7, InputError, r"'strips' has the panels \[7\]; expected a list of objects"),
        ({"file": "a\0.png"}, InputError, "which no file can be called"),
        ({"file": 5000 * "a"}, InputError, "which no file can be called"),
    ],
)
def test_bad_strips(raw, tmp_path, panel, error, message):
    raw["strips"] = [{"name": "a.png", "label": "cat", "panels": [panel]}]
    (tmp_path / "run.json").write_text(json.dumps(raw))
    with pytest.raises(error, match=message):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("format", "name"),
    [("html", "report.html"), ("markdown", "report.md"), ("latex", "report.tex")],
)
def test_write_report(run_folder, tmp_path, format, name):
    assert write_report(run_folder, format=format) == run_folder / name
    out = write_report(run_folder, tmp_path / "deep" / "x", format=format)
    assert out.read_bytes() == (run_folder / name).read_bytes()
    assert write_report(run_folder, tmp_path / name).read_bytes() == out.read_bytes()


def test_unknown_format(run_folder):
    with pytest.raises(InputError, match="format is 'pdf'; expected one of html"):
        write_report(run_folder, format="pdf")
    for name in ("report.png", "report.PDF", "report"):
        with pytest.raises(InputError, match=rf"{name}.*\.html, \.md or \.tex"):
            write_report(run_folder, run_folder / name)
        assert not (run_folder / name).exists()


def test_only_html_needs_jinja2(monkeypatch, run_folder):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"nrpurify\[report\]"):
        write_report(run_folder)
    assert write_report(run_folder, format="latex").exists()


def test_strips_without_panels(raw, tmp_path):
    raw["strips"] = [{"name": "a.png", "panels": None}]
    (tmp_path / "run.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="has the panels None; expected a list of objects"):
        write_report(tmp_path)


def test_names_break_at_their_marks_and_leave_no_crumbs():
    breakable = environment().filters["breakable"]
    assert str(breakable("efficientnet_lite0")) == "efficientnet_<wbr>lite0"
    assert str(breakable("squeezenet1_1")) == "squeezenet1_1"
    assert str(breakable("jpeg:quality=75+<b>")) == "jpeg:<wbr>quality=75+<wbr>&lt;b&gt;"


def test_without_defenses_nothing_is_told_of_bold(small):
    html = render_run(small({"attack": "clean", "value": 0.5}))
    assert "bold: the best" not in html
