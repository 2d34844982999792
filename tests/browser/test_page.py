"""The page in Chromium: all that a visitor does, every error, and accessibility."""

import re
import threading

import pytest
import torch
from playwright.sync_api import expect

from nrpurify.core.images import encode_png, write_png

pytestmark = pytest.mark.browser


def choose_example(page, name="cat"):
    page.click(f"[data-example={name}]")
    expect(page.locator("#chosen")).to_be_visible()


def run(page, steps=2):
    page.fill("#steps", str(steps))
    page.click("#run")
    expect(page.locator("#stage")).to_have_text("Done.")


def violations(page, axe):
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]


def photo_file(tmp_path, height=40, width=60):
    write_png(tmp_path / "mine.png", torch.rand(3, height, width))
    return tmp_path / "mine.png"


def test_an_attack_shows_four_pictures_with_answers_and_a_sentence(open_page):
    page = open_page()
    choose_example(page)
    run(page)
    titles = page.locator("figcaption").all_inner_texts()
    assert [title.split()[0] for title in titles] == ["Clean", "Attacked", "Difference", "Purified"]
    for image in page.locator("figure img").all():
        assert image.evaluate("image => image.naturalWidth") > 0
        assert image.get_attribute("alt")
    assert page.locator("figure:has-text('Attacked') .answers li").count() == 6
    headings = page.locator("figure:has-text('Purified') h3").all_inner_texts()
    assert [text.split(":")[0] for text in headings] == ["first", "second"]
    expect(page.locator("#summary")).to_contain_text("SSP with 2 steps")
    expect(page.locator("#summary")).to_contain_text("An attacker who knows it")
    assert page.evaluate("document.activeElement.id") == "result"


def test_a_file_can_be_picked_dropped_and_pasted(open_page, tmp_path):
    page = open_page()
    page.set_input_files("#file", photo_file(tmp_path))
    expect(page.locator("#chosen-name")).to_have_text("Chosen: mine.png")
    for kind in ("drop", "paste"):
        page.evaluate(
            """([kind, bytes]) => {
                const data = new DataTransfer();
                const name = kind + ".png";
                data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
                const event = kind === "drop"
                    ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                    : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
                document.body.dispatchEvent(event);
            }""",
            [kind, list(encode_png(torch.rand(3, 30, 30)))],
        )
        expect(page.locator("#chosen-name")).to_have_text(f"Chosen: {kind}.png")
        run(page, 1)


def test_purification_alone(open_page, tmp_path):
    page = open_page()
    page.set_input_files("#file", photo_file(tmp_path))
    page.select_option("#mode", "purify")
    expect(page.locator("#eps")).to_be_hidden()
    page.select_option("#purifier", "mild")
    page.click("#run")
    expect(page.locator("#stage")).to_have_text("Done.")
    titles = page.locator("figcaption").all_inner_texts()
    assert [title.split("\n")[0] for title in titles] == ["As sent", "Purified"]
    expect(page.locator("#summary")).to_contain_text("mild purified the photograph")
    assert page.locator(".answers h3").count() == 4


def test_downloads_are_the_pictures(open_page):
    page = open_page()
    choose_example(page)
    run(page, 1)
    with page.expect_download() as download:
        page.click("text=Download >> nth=3")
    assert download.value.suggested_filename == "purified.png"
    with open(download.value.path(), "rb") as file:  # noqa: PTH123
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_cancel_stops_the_attack_at_the_server(open_page, serve):
    page = open_page(serve(max_steps=10**6))
    service = serve.service
    choose_example(page)
    page.fill("#steps", "1000000")
    page.click("#run")
    expect(page.locator("#stage")).to_contain_text("Attack: step")
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#run")).to_be_disabled()
    page.click("#cancel")
    expect(page.locator("#stage")).to_have_text("Cancelled.")
    expect(page.locator("#problem")).to_be_hidden()
    for _ in range(200):
        if not service.attacks._running:
            break
        page.wait_for_timeout(20)
    assert service.attacks.held == 0
    assert not service.attacks._running
    run(page, 1)


def test_the_slider_moves_the_border_by_key_and_pointer(open_page):
    page = open_page()
    choose_example(page)
    run(page, 1)
    expect(page.locator("#pair option")).to_have_count(3)
    page.focus("#split")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    border = "document.getElementById('compare').style.getPropertyValue('--split')"
    assert page.evaluate(border) == "45%"
    assert "45 percent" in page.get_attribute("#split", "aria-valuetext")
    box = page.locator("#compare").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    assert page.evaluate(border) == "25%"
    page.select_option("#pair", index=1)
    assert page.get_attribute("#before", "alt").startswith("Clean")


def test_a_link_restores_the_settings(open_page, serve):
    address = serve()
    page = open_page(address)
    choose_example(page, "rocket")
    page.select_option("#eps", "8/255")
    page.fill("#steps", "3")
    page.select_option("#purifier", "mild")
    page.uncheck("#victims input[value=first]")
    page.click("#link")
    expect(page.locator("#stage")).to_contain_text("The link is")
    fragment = "#" + page.url.split("#")[1]
    other = open_page(address, hash=fragment)
    expect(other.locator("#chosen-name")).to_have_text("Chosen: A rocket at its launch")
    assert other.input_value("#eps") == "8/255"
    assert other.input_value("#steps") == "3"
    assert other.input_value("#purifier") == "mild"
    assert not other.is_checked("#victims input[value=first]")
    assert other.is_checked("#victims input[value=second]")
    strange = open_page(address, hash="#eps=9/255&steps=-4&purifier=<b>&photo=%22]&victim=second")
    assert strange.input_value("#eps") == "16/255"
    assert strange.input_value("#steps") == "10"


def test_no_victims_are_asked_when_none_is_chosen(open_page):
    page = open_page()
    choose_example(page)
    for box in page.locator("#victims input").all():
        box.uncheck()
    run(page, 1)
    assert page.locator(".answers").count() == 0
    expect(page.locator("#summary")).not_to_contain_text("classifier")


def shows(page, pattern):
    expect(page.locator("#problem")).to_be_visible()
    expect(page.locator("#problem")).to_have_text(re.compile(pattern))
    assert page.get_attribute("#problem", "role") == "alert"


def test_every_error_is_a_sentence(open_page, serve, tmp_path):
    page = open_page(serve(max_bytes=60_000, max_pixels=10_000))
    page.click("#run")
    shows(page, "No photograph is chosen; choose one")
    page.set_input_files("#file", photo_file(tmp_path, 200, 200))
    shows(page, "bytes; this server takes 60,000: choose a smaller one")
    page.set_input_files("#file", photo_file(tmp_path, 101, 100))
    page.click("#run")
    shows(page, "100×101 = 10,100 pixels; the limit is 10,000")
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo_file(tmp_path).read_bytes()[:300])
    page.set_input_files("#file", broken)
    page.click("#run")
    shows(page, "cannot be read")
    text = tmp_path / "text.png"
    text.write_text("no image")
    page.set_input_files("#file", text)
    page.click("#run")
    shows(page, "begins like none of the image types")
    notes = tmp_path / "notes.txt"
    notes.write_text("no image")
    page.set_input_files("#file", notes)
    shows(page, "This is no image")
    page.set_input_files("#file", photo_file(tmp_path))
    expect(page.locator("#problem")).to_be_hidden()
    page.route("**/v1/attack**", lambda route: route.abort())
    page.click("#run")
    shows(page, "cannot be reached")


def test_a_full_server_and_a_late_answer_are_told(open_page, serve, engine, monkeypatch):
    gate, purify = threading.Event(), engine.purify

    def waits(name, images):
        assert gate.wait(20)
        return purify(name, images)

    monkeypatch.setattr(engine, "purify", waits)
    address = serve(attack_places=1, attack_seconds=1.0)
    page, other = open_page(address), open_page(address)
    for one in (page, other):
        choose_example(one)
        one.fill("#steps", "1")
    page.click("#run")
    expect(page.locator("#stage")).to_contain_text("Purifying")
    other.click("#run")
    shows(other, r"All 1 places are taken; try again in \d+ s\.")
    shows(page, "No answer within 1 s; take fewer steps")
    gate.set()


def test_a_server_with_a_token_asks_for_it(open_page, serve):
    page = open_page(serve(token="a-token-for-the-browser"), wait=False)
    shows(page, "This server needs its token")
    page.fill("#token", "a-token-for-the-browser")
    page.click("#token-use")
    expect(page.locator("#token-field")).to_be_hidden()
    choose_example(page)
    run(page, 1)


def test_a_server_without_attack_purifies(open_page, serve):
    page = open_page(serve(attack=False))
    expect(page.locator("#mode-field")).to_be_hidden()
    choose_example(page)
    page.click("#run")
    expect(page.locator("#stage")).to_have_text("Done.")


def test_models_that_are_still_loaded_are_waited_for(open_page, serve, engine):
    address = serve()
    serve.service.engine = None
    page = open_page(address, wait=False)
    shows(page, "The models are being loaded")
    serve.service.engine = engine
    page.wait_for_selector("#eps option", state="attached")
    expect(page.locator("#problem")).to_be_hidden()


def test_the_keyboard_does_everything(open_page):
    page = open_page()
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.dataset.example")
        )
        if reached[-1] == "cat":
            page.keyboard.press("Enter")
            expect(page.locator("#chosen")).to_be_visible()
        if reached[-1] == "steps":
            page.keyboard.press("Control+A")
            page.keyboard.type("1")
        if reached[-1] == "run":
            page.keyboard.press("Enter")
            break
    assert [name for name in reached if name] == [
        *("file", "cat", "coffee", "rocket", "astronaut", "mode", "eps", "steps", "purifier"),
        "run",
    ]
    expect(page.locator("#stage")).to_have_text("Done.")


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_overflows(open_page, axe, size, scheme):
    page = open_page(size=size, scheme=scheme)
    assert violations(page, axe) == []
    page.click("#run")  # an error is shown
    assert violations(page, axe) == []
    choose_example(page)
    run(page, 1)
    assert violations(page, axe) == []
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
