import base64
import json
import os

import pytest

from nrpurify.core.errors import InputError
from nrpurify.report import parse_run, render_markdown, render_run, write_report
from nrpurify.report.drawings import MAX_BYTES, read_drawings
from nrpurify.report.paper_claims import read_claims

EVIL = "<script>alert('x')</script>\"&"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.fixture
def paper(raw):
    """A run as `nrpurify paper run` leaves it, and what it tells of the paper."""
    raw["settings"]["paper"] = {
        "experiment": "figure3",
        "scale": "small",
        "measured": "Fooling rate of Inc-v4.",
        "instead": "EfficientNet-Lite1 asked",
        "findings": [
            {"claim": "I-FGSM falls", "here": "70 % at 2, 55 % at 40"},
            {"claim": "MI-FGSM holds", "here": ""},
        ],
        "files": ["fooling.svg", "table.csv"],
    }
    return raw


def test_the_page_shows_claims_findings_and_plots(paper, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(paper))
    (tmp_path / "fooling.svg").write_bytes(SVG)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    section = html.split('<section aria-labelledby="claims">')[1].split("</section>")[0]
    for text in (
        "Fooling rate of Inc-v4.",
        "(scale small):</b> EfficientNet-Lite1 asked",
        '<th scope="row">I-FGSM falls</th><td>70 % at 2, 55 % at 40</td>',
        '<th scope="row">MI-FGSM holds</th><td><small>not looked at</small></td>',
        f'<img src="data:image/svg+xml;base64,{base64.b64encode(SVG).decode()}"',
    ):
        assert text in section
    assert section.count("<figure>") == 1
    assert "alert(1)" not in html
    assert html.index('id="claims"') < html.index('id="paper"')


def test_markdown_tells_them_too(paper):
    text = render_markdown(parse_run(paper))
    assert "**Measured here (scale small)**: EfficientNet-Lite1 asked" in text
    assert "| I-FGSM falls | 70 % at 2, 55 % at 40 |\n| MI-FGSM holds | not looked at |" in text


def test_other_runs_tell_nothing(raw, run):
    assert read_claims(run) is None
    assert 'id="claims"' not in render_run(run)
    assert "What the paper says" not in render_markdown(run)
    assert read_claims(parse_run({**raw, "settings": []})) is None


def test_what_is_told_is_escaped(paper, tmp_path):
    findings = [{"claim": EVIL, "here": EVIL}]
    said = {"measured": EVIL, "instead": EVIL, "scale": EVIL, "findings": findings}
    paper["settings"]["paper"] |= said
    run = parse_run(paper)
    html = render_run(run, drawings=read_drawings([f"{EVIL.replace('/', '')}.svg"], tmp_path))
    assert "is not shown: it is not in the run folder" in html
    assert "<script>alert" not in html + render_markdown(run).replace("\\<", "")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("findings", [7], r"settings\.paper\.findings is \[7\]; expected a list of objects"),
        ("findings", None, r"settings\.paper\.findings is None; expected a list of objects"),
        ("findings", [{"claim": 7}], r"settings\.paper\.claim is 7; expected a text"),
        ("files", "a.svg", r"settings\.paper\.files is 'a\.svg'; expected a list of names"),
        ("measured", [], r"settings\.paper\.measured is \[\]; expected a text"),
    ],
)
def test_what_no_paper_run_writes(paper, key, value, message):
    paper["settings"]["paper"][key] = value
    with pytest.raises(InputError, match=message):
        read_claims(parse_run(paper))


def test_settings_of_the_paper_that_are_no_object(paper):
    paper["settings"]["paper"] = 7
    with pytest.raises(InputError, match=r"settings\.paper is 7; expected an object"):
        read_claims(parse_run(paper))


@pytest.mark.parametrize("place", ["../x.svg", "{out}/x.svg", "link.svg", "sub/x.svg"])
def test_plots_outside_the_folder_are_refused(tmp_path, place):
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    for file in (tmp_path / "x.svg", folder / "sub" / "x.svg"):
        file.write_bytes(SVG)
    (folder / "link.svg").symlink_to(tmp_path / "x.svg")
    with pytest.raises(InputError, match="expected a file directly in the run folder"):
        read_drawings([place.format(out=tmp_path)], folder)


def test_plots_that_cannot_be_shown_are_told(tmp_path):
    (tmp_path / "big.svg").write_bytes(SVG + b" " * MAX_BYTES)
    (tmp_path / "text.svg").write_text("no picture")
    (tmp_path / "loop.svg").symlink_to("loop.svg")
    os.mkfifo(tmp_path / "pipe.svg")
    names = ["big.svg", "text.svg", "loop.svg", "pipe.svg", "a\0.svg", 300 * "a" + ".svg"]
    found = read_drawings(names, tmp_path)
    assert [drawing.name for drawing in found] == names
    assert not any(drawing.uri for drawing in found)
    assert all(drawing.problem for drawing in found)
    assert "2,000,000 bytes" in found[0].problem
