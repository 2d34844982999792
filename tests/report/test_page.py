import base64
import json
import re
import sys
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.images import to_uint8
from nrpurify.report import Panel, Strip, difference_panel, render_demo, write_demo
from nrpurify.report.environment import image_uri
from nrpurify.report.page import CONDITIONS

EVIL = "<script>alert('x')</script>\"&"
VOID = {"meta", "link", "img", "br"}


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


def accuracies(clean, attacked, purified, purified_clean):
    return dict(zip(CONDITIONS, (clean, attacked, purified, purified_clean), strict=True))


@pytest.fixture
def result():
    return {
        "n": 20,
        "settings": {
            "attack": "SSP",
            "surrogate": "vgg16",
            "layer": "conv3_3",
            "eps": 16 / 255,
            "purifier": "fast",
            "seed": 3,
        },
        "victims": {
            "lite0": accuracies(0.85, 0.4, 0.7, 0.8),
            "squeeze": accuracies(0.6, 0, 0.4, 1),
        },
        "mean": accuracies(0.8, 0.2, 0.6, 0.76),
    }


@pytest.fixture
def strip():
    clean = torch.rand(3, 8, 8)
    attacked = (clean + 0.02).clamp(0, 1)
    return Strip(
        "a.jpg",
        "tabby cat",
        [
            Panel("Clean", clean, "tabby cat", 0.914, True),
            Panel("Attacked", attacked, "toaster", 0.5, False),
            difference_panel(clean, attacked),
            Panel("Purified", clean, "tabby cat", None, True),
        ],
    )


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_page_says_what_was_done(result, strip):
    text = text_of(render_demo(result, [strip], victim="lite0"))
    assert "20 labeled photographs were attacked with SSP made on vgg16 conv3_3" in text
    assert "ε = 16/255 , then purified with fast , and classified by 2 victims" in text
    assert "Seed 3." in text
    assert "Computed in" not in text
    result["settings"]["precision"] = "bf16"
    text = text_of(render_demo(result, [strip], victim="lite0"))
    assert "Computed in bf16." in text
    assert "what lite0 sees" in text


def test_table_has_percentages_counts_and_ratios(result):
    html = render_demo(result, [])
    text = text_of(html)
    assert "lite0 85% 17/20 40% 8/20 70% 14/20 80% 16/20" in text
    assert "Mean 80% 20% 25% of clean 60% 75% of clean 76% 95% of clean" in text
    scopes = [attrs["scope"] for attrs in Page(html).all("th")]
    assert scopes == ["col"] * 5 + ["row"] * 3
    assert "Photographs" not in text


def test_zero_clean_accuracy_gives_no_ratio(result):
    result["mean"] = accuracies(0, 0, 0, 0)
    assert "of clean" not in render_demo(result, [])


def test_strips_show_predictions_by_sign_and_by_color(result, strip):
    html = render_demo(result, [strip])
    text = text_of(html)
    assert "tabby cat a.jpg Clean ✓ tabby cat 91% Attacked ✗ toaster 50%" in text
    assert "Difference × 10 Purified ✓ tabby cat" in text
    marks = [a["aria-label"] for a in Page(html).all("span") if a.get("class") == "mark"]
    assert marks == ["right", "wrong", "right"]


def test_a_demo_of_twenty_photographs_is_small(result):
    ramp = torch.linspace(0, 1, 224)
    picture = torch.stack(
        [ramp.expand(224, 224), ramp[:, None].expand(224, 224), ramp * 0 + ramp[:, None]]
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-1, 2, picture.shape, generator=generator) * 16 / 255
    panels = [Panel("Clean", picture), Panel("Attacked", (picture + noise).clamp(0, 1))]
    html = render_demo(result, [Strip("a.jpg", "ramp", 2 * panels)])
    # noise of the whole budget in each value is the dearest that an attack can be
    assert 20 * len(html) < 6_000_000
    assert "compressed (WebP, quality 70); the numbers are of the exact ones" in text_of(html)


def test_images_are_embedded(result, strip):
    images = Page(render_demo(result, [strip])).all("img")
    assert len(images) == 4
    assert [image["alt"] for image in images][1] == "Attacked: tabby cat, a.jpg"
    for image, panel in zip(images, strip.panels, strict=True):
        kind, data = image["src"].split(",")
        assert kind == "data:image/webp;base64"
        pixels = np.array(PilImage.open(BytesIO(base64.b64decode(data))))
        assert pixels.shape == (8, 8, 3)
        exact = np.array(PilImage.open(BytesIO(base64.b64decode(image_uri(panel.image)[23:]))))
        assert torch.equal(torch.from_numpy(exact).permute(2, 0, 1), to_uint8(panel.image))


def test_notes_stand_on_the_page(result, strip):
    assert "Nothing is left" not in render_demo(result, [strip])
    result["notes"] = ["Nothing is left <b>"]
    assert "Nothing is left &lt;b&gt;" in render_demo(result, [strip])


def test_page_makes_no_request(result, strip):
    html = render_demo(result, [strip])
    page = Page(html)
    links = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href")]
    assert len(links) == 6
    assert all(link.startswith("data:") for link in links)
    assert page.all("script") == []
    assert not re.search(r"url\(|@import|https?:", html)
    assert any("default-src 'none'" in meta.get("content", "") for meta in page.all("meta"))


def test_everything_is_escaped(result):
    result["settings"]["attack"] = result["settings"]["note"] = EVIL
    result["victims"][EVIL] = accuracies(1, 1, 1, 1)
    strip = Strip(EVIL, EVIL, [Panel(EVIL, torch.zeros(3, 2, 2), EVIL, 1.0, False)])
    html = render_demo(result, [strip], victim=EVIL)
    page = Page(html)
    assert page.all("script") == []
    assert page.all("img")[0]["alt"] == f"{EVIL}: {EVIL}, {EVIL}"


def test_json_download_is_the_result(result):
    (link,) = Page(render_demo(result, [])).all("a")
    assert link["download"] == "results.json"
    assert json.loads(base64.b64decode(link["href"].split(",")[1])) == result


@pytest.mark.parametrize(
    ("eps", "shown"), [(8 / 255, "8/255"), (0.01, "2.55/255"), ("16/255", "16/255")]
)
def test_eps_is_shown_in_255ths(result, eps, shown):
    result["settings"]["eps"] = eps
    assert f"ε = {shown}" in render_demo(result, [])


def test_settings_may_be_empty(result):
    result["settings"] = {}
    text = text_of(render_demo(result, []))
    assert "20 labeled photographs were attacked, then purified, and classified by 2" in text


def test_incomplete_results_are_named(result):
    del result["victims"]["squeeze"]["purified"]
    with pytest.raises(InputError, match=r"lacks squeeze\.purified"):
        render_demo(result, [])
    del result["mean"]
    with pytest.raises(InputError, match="lacks mean"):
        render_demo(result, [])


def test_difference_is_amplified_around_grey():
    clean = torch.full((3, 1, 3), 0.5)
    attacked = clean + torch.tensor([0.0, 0.03, -0.2])
    panel = difference_panel(clean, attacked)
    assert panel.title == "Difference × 10"
    assert torch.allclose(panel.image[0, 0], torch.tensor([0.5, 0.8, 0.0]))


def test_write_demo_writes_one_file(tmp_path, result, strip):
    write_demo(tmp_path / "out" / "report.html", result, [strip], victim="lite0")
    (path,) = (tmp_path / "out").iterdir()
    assert path.read_text(encoding="utf-8") == render_demo(result, [strip], victim="lite0")


def test_jinja2_is_optional(monkeypatch, result):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"nrpurify\[report\]"):
        render_demo(result, [])
