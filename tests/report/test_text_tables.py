import re
import shutil
import subprocess

import pytest

from nrpurify.report import parse_run, render_latex, render_markdown
from nrpurify.report.latex import escape as latex
from nrpurify.report.markdown import escape as markdown


def test_markdown_tables_are_rectangular(run):
    text = render_markdown(run)
    assert text.startswith("# Defenses against transfer")
    assert "## Warnings" in text
    assert "| threat | attack | none | fast |" in text
    assert "| HGD | 38.3 / – |" in text
    assert "| no attack | clean |" not in text.split("### accuracy, %: clean")[1]
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_surrogates_are_marked_and_left_out_of_means(run):
    text = render_markdown(run)
    (block,) = re.findall(r"### .*mi-fgsm .*?\n\n((?:\|.*\n)+)", text)
    assert r"efficientnet\_lite0 (surrogate)" in block
    cells = block.splitlines()[2].split(" | ")
    values = [float(cell.split()[0]) for cell in cells[2:5]]
    assert float(cells[5].split()[0]) == pytest.approx(sum(values) / 3, abs=0.06)


def test_intervals_are_given(run):
    assert re.search(r"\d\.\d \\\[\d+\.\d, \d+\.\d\\\]", render_markdown(run))


def test_other_metrics_have_their_tables(raw, detection_cells):
    raw["cells"] += detection_cells
    for text in (render_markdown(parse_run(raw)), render_latex(parse_run(raw))):
        assert "mAP50 (detect)" in text


def test_latex_tables(run):
    text = render_latex(run)
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == text.count(r"\caption{")
    assert r"efficientnet\_lite0" in text
    assert r"\begin{tabular}{llrrrrrrr}" in text
    head, *tables = text.split(r"\begin{table}")
    assert all(line.startswith("%") for line in head.strip().splitlines())
    for table in tables:
        columns = len(re.search(r"tabular}\{(\w+)\}", table)[1])
        for line in table.splitlines():
            if line.endswith(r"\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
    assert not re.search(r"(?<!\\)[%#]|[ε–]", "".join(tables))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(run, tmp_path):
    (tmp_path / "t.tex").write_text(render_latex(run))
    main = (
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{t}\\end{document}"
    )
    (tmp_path / "m.tex").write_text(main)
    command = ["pdflatex", "-halt-on-error", "m.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b 5%", r"a\_b 5\%"),
        ("\\{x}~^$&#", r"\textbackslash{}\{x\}\textasciitilde{}\textasciicircum{}\$\&\#"),
        ("a\nb", "a b"),
        ("[1]", "{[}1{]}"),
    ],
)
def test_latex_escapes(text, expected):
    assert latex(text) == expected


def test_markdown_escapes():
    assert markdown("a|b*c_d<e>\n[f]") == r"a\|b\*c\_d\<e\> \[f\]"


def test_latex_has_labels_bold_and_a_note_for_each_warning(raw):
    masked = [c["id"] for c in raw["cells"] if (c["threat"], c["defense"]) == ("BPDA", "fast")]
    raw["warnings"] += [
        {"kind": "no gradient", "text": "zeros at 50%", "cells": masked},
        {"kind": "images", "text": "one image is broken"},
    ]
    text = render_latex(parse_run(raw))
    labels = re.findall(r"\\label\{(tab:[a-z0-9-]+)\}", text)
    assert len(labels) == len(set(labels)) == text.count(r"\begin{table}")
    first = text.split(r"\end{table}")[0]
    assert re.search(r"mean of 3 attacks.*\\textbf\{[\d.]+\}", first)
    assert r"\textsuperscript{a} fast:mode=dynamic,seed=1 is random" in first
    assert r"\textsuperscript{b} zeros at 50\%" in first
    assert re.search(r"BPDA & pgd .*? & [\d.]+\\textsuperscript\{b\} &", first)
    assert text.count("one image is broken") == 1
    assert (
        "zeros"
        not in text.split(r"\label{tab:classify-accuracy-none-clean}")[1].split("end{table}")[0]
    )


def test_markdown_marks_what_is_only_an_upper_bound(raw):
    assert "†" not in render_markdown(parse_run(raw))
    masked = [c["id"] for c in raw["cells"] if (c["threat"], c["defense"]) == ("BPDA", "fast")]
    raw["warnings"] = [{"kind": "no gradient", "text": "zeros", "cells": masked}]
    text = render_markdown(parse_run(raw))
    assert "† flatters the defense" in text
    assert re.search(r"\| BPDA \| pgd .*? \| [\d.]+ † \|", text)
