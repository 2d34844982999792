"""Quotes in specs: paths that hold what separates links and settings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nrpurify import defenses
from nrpurify.core.errors import InputError
from nrpurify.core.images import write_png
from nrpurify.core.spec import parse, quoted
from nrpurify.data.labels import LabeledImage
from nrpurify.evaluation import plan_from_dict
from nrpurify.evaluation import run as run_plan
from nrpurify.paper import Bench, trained
from nrpurify.paper.smoke import tiny_networks
from nrpurify.purifiers import Card, Purifier, build_purifier, save_purifier


def save(file, recipe):
    torch.manual_seed(0)
    network = build_purifier("micro")
    card = network.card
    card = Card(card.name, card.architecture, card.arguments, {"recipe": {"defense": recipe}})
    save_purifier(Purifier(network.network, card), file)


def test_what_stands_in_quotes_separates_nothing():
    (first, second) = parse('hgd:checkpoint="/a+b,c=1/x"+"/d+e:f=1":mode=dynamic,seed=1')
    assert (first.name, first.settings) == ("hgd", {"checkpoint": "/a+b,c=1/x"})
    assert (second.name, second.settings) == ("/d+e:f=1", {"mode": "dynamic", "seed": "1"})


@pytest.mark.parametrize("text", ["fast", "/runs/hgd/purifier.safetensors", "a b", "C:\\x", "ä-1"])
def test_plain_names_stay_as_they_are(text):
    assert quoted(text) == text


odd = st.text(st.sampled_from('ab/+,:="\\ .'), min_size=1, max_size=12).filter(str.strip)


@given(odd, odd)
def test_anything_comes_through_quotes(name, value):
    (link, last) = parse(f"{quoted(name)}:key={quoted(value)}+jpeg")
    assert (link.name, link.settings, last.name) == (name, {"key": value}, "jpeg")


def test_an_open_quote_is_refused():
    with pytest.raises(InputError, match="double quote that is not closed"):
        defenses.make('hgd:checkpoint="/a+b')


def test_trained_defenses_of_the_paper_are_found_below_any_folder(tmp_path):
    folder = tmp_path / 'a+b,c"d'
    folder.mkdir()
    save(folder / "hgd.safetensors", "hgd")
    bench = Bench("small", tmp_path / "out", checkpoints=folder, purifier=str(folder / "x+y"))
    assert isinstance(defenses.make(trained.spec(bench, "hgd")), Purifier)
    save(folder / "x+y", "nrp")
    dynamic = trained.spec(bench, "nrp:mode=dynamic,seed=1")
    assert defenses.settings(dynamic)[0]["name"] == str(folder / "x+y")
    plain = tmp_path / "plain" / "hgd.safetensors"
    plain.parent.mkdir()
    save(plain, "hgd")
    bench = Bench("small", tmp_path / "out", checkpoints=plain.parent)
    assert trained.spec(bench, "hgd") == f"hgd:checkpoint={plain}"


def test_a_grid_takes_quoted_specs(tmp_path):
    folder = tmp_path / "a+b"
    folder.mkdir()
    save(folder / "hgd.safetensors", "hgd")
    spec = trained.with_checkpoint("hgd", folder / "hgd.safetensors")
    write_png(tmp_path / "x.png", torch.rand(3, 32, 32))
    given = {
        "name": "x",
        "victims": ["tiny:a"],
        "defenses": ["none", spec],
        "attacks": [],
        "images": {"size": 32, "check_labels": False},
    }
    with tiny_networks():
        items = [LabeledImage(tmp_path / "x.png", 0)]
        run = run_plan(plan_from_dict(given), tmp_path / "out", items=items)
    assert [cell["defense"] for cell in run["cells"]] == ["none", spec]
    assert spec in run["weights_sha256"]
    from nrpurify.report import write_report

    assert "hgd" in write_report(tmp_path / "out").read_text(encoding="utf-8")
