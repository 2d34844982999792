"""/v1/attack: its answer, its events, and how it is stopped."""

import asyncio
import base64
import io
import json
import threading
import weakref

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from nrpurify.attacks import ssp
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.images import encode_png, from_uint8, to_uint8
from nrpurify.core.random import derive_generator
from nrpurify.serving import service
from nrpurify.serving.answers import ClassScore, Prediction
from nrpurify.serving.attack import KNOWS, summary

pytestmark = pytest.mark.anyio
PNG = {"content-type": "image/png"}
EVENTS = {**PNG, "accept": "text/event-stream"}


def events(text):
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if block[0] != ":"]
    return [(kind.removeprefix("event: "), json.loads(data[6:])) for kind, data in blocks]


def image(text):
    pixels = np.asarray(PilImage.open(io.BytesIO(base64.b64decode(text))))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


async def test_the_answer_is_the_librarys_attack(client, engine, png):
    found = (await client.post("/v1/attack?steps=3&eps=8/255", content=png, headers=PNG)).json()
    clean = image(found["clean"])
    assert (clean == image(base64.b64encode(png))).all()
    generator = derive_generator(0, "attack", pixels_hash(from_uint8(clean)))
    settings = {"eps": 8 / 255, "steps": 3, "generator": [generator], "amp": "auto"}
    made = ssp(engine.extractor, from_uint8(clean)[None], **settings)
    assert (image(found["attacked"]) == to_uint8(made)[0]).all()
    assert found["largest_change"] == 8
    purified = await client.post(
        "/v1/purify", content=base64.b64decode(found["attacked"]), headers=PNG
    )
    assert purified.content == base64.b64decode(found["purified"])
    difference = image(found["difference"]).float() / 255 - 0.5
    change = (image(found["attacked"]).float() - clean.float()) / 16
    assert (difference - change).abs().max() < 0.01
    assert [one["victim"] for one in found["answers"]["attacked"]] == ["small"]
    assert found["summary"].endswith(KNOWS)


async def test_events_tell_the_steps_and_then_the_result(client, png):
    answer = await client.post("/v1/attack?steps=2", content=png, headers=EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    stages = [values["stage"] for kind, values in found if kind == "progress"]
    assert stages == ["waiting", "attack", "attack", "attack", *["answers"] * 4]
    steps = [v["step"] for k, v in found if k == "progress" and v["stage"] == "attack"]
    assert steps == [0, 1, 2]
    kind, result = found[-1]
    assert kind == "result"
    plain = (await client.post("/v1/attack?steps=2", content=png, headers=PNG)).json()
    assert result["attacked"] == plain["attacked"]


async def test_large_images_are_reduced_first(client):
    large = encode_png(torch.rand(3, 300, 450))
    found = (await client.post("/v1/attack?steps=1", content=large, headers=PNG)).json()
    assert (found["width"], found["height"]) == (336, 224)
    thin = encode_png(torch.rand(3, 1500, 224))
    answer = await client.post("/v1/attack?steps=1", content=thin, headers=PNG)
    assert answer.status_code == 413
    assert "4 times" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("steps=0", "steps"),
        ("steps=101", "100 at most"),
        ("steps=many", "steps"),
        ("eps=40/255", "32/255 at most"),
        ("eps=16", "16/255"),
        ("eps=-1", "eps"),
        ("victim=resnet", "expected one of small"),
        ("purifier=resnet", "expected one of fast"),
    ],
)
async def test_settings_are_bounded(client, png, query, words):
    answer = await client.post(f"/v1/attack?{query}", content=png, headers=EVENTS)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


async def test_attacks_that_find_no_place_are_refused(engine, asking, png, held_back, until):
    async with asking(engine, attack_places=1) as client:
        first = asyncio.create_task(client.post("/v1/attack?steps=1", content=png, headers=PNG))
        await until(lambda: client.service.attacks.held == 1)
        answer = await client.post("/v1/attack?steps=1", content=png, headers=EVENTS)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        held_back.set()
        assert (await first).status_code == 200


async def test_an_attack_that_takes_too_long_says_so_in_its_stream(engine, asking, png, held_back):
    async with asking(engine, attack_seconds=0.5) as client:
        answer = await client.post("/v1/attack?steps=1", content=png, headers=EVENTS)
        kind, problem = events(answer.text)[-1]
        assert (kind, problem["status"]) == ("problem", 504)
        answer = await client.post("/v1/attack?steps=1", content=png, headers=PNG)
        assert answer.status_code == 503  # it did not begin: the first one still holds the thread
        assert answer.headers["retry-after"]
        held_back.set()


async def test_a_failure_is_an_event_without_details(client, engine, png, monkeypatch):
    def fails(name, images):
        raise RuntimeError("secret")

    monkeypatch.setattr(engine, "purify", fails)
    answer = await client.post("/v1/attack?steps=1", content=png, headers=EVENTS)
    kind, problem = events(answer.text)[-1]
    assert (kind, problem["status"]) == ("problem", 500)
    assert "secret" not in answer.text


async def call(app, path, body, headers, leave):
    """Ask an ASGI application; the client goes away when ``leave`` is set."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": path.partition("?")[0],
        "raw_path": path.encode(),
        "query_string": path.partition("?")[2].encode(),
        "root_path": "",
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        "client": ("test", 1),
        "server": ("server", 80),
        "scheme": "http",
    }
    sent = [{"type": "http.request", "body": body, "more_body": False}]
    got = []

    async def receive():
        if sent:
            return sent.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        got.append(message)

    await app(scope, receive, send)
    return got


@pytest.mark.parametrize("headers", [PNG, EVENTS])
async def test_a_client_that_leaves_stops_its_attack(engine, asking, png, until, headers):
    async with asking(engine, max_steps=10**6) as client:
        app = client._transport.app
        leave = asyncio.Event()
        task = asyncio.create_task(call(app, "/v1/attack?steps=1000000", png, headers, leave))
        await until(lambda: client.service.attacks._running)
        leave.set()
        await asyncio.wait_for(task, 10)
        await until(lambda: not client.service.attacks._running)
        assert client.service.attacks.held == 0
        assert (await client.post("/v1/attack?steps=1", content=png, headers=PNG)).is_success


async def test_a_client_that_leaves_frees_its_place(engine, asking, png, held_back, until):
    async with asking(engine, places=2) as client:
        app = client._transport.app
        first = asyncio.create_task(client.post("/v1/purify", content=png, headers=PNG))
        await until(lambda: client.service.images._running)
        leave = asyncio.Event()
        task = asyncio.create_task(call(app, "/v1/purify", png, PNG, leave))
        await until(lambda: client.service.images.waiting == 1)
        leave.set()
        await task
        assert client.service.images.waiting == 0
        assert client.service.images.held == 1
        assert client.service.memory.used == len(png)
        held_back.set()
        assert (await first).status_code == 200
        assert 'status="499"' in (await client.get("/metrics")).text


@pytest.fixture
def slow_decoder(monkeypatch):
    """Holds all decoding back until it is set; tells how many images are decoded."""
    gate, decode = threading.Event(), service.decode_image
    gate.count = 0

    def waits(content, max_pixels):
        gate.count += 1
        assert gate.wait(10)
        return decode(content, max_pixels)

    monkeypatch.setattr(service, "decode_image", waits)
    yield gate
    gate.set()


@pytest.mark.parametrize("headers", [PNG, EVENTS])
async def test_an_upload_is_decoded_in_a_place(engine, asking, png, until, slow_decoder, headers):
    async with asking(engine, attack_places=1) as client:

        async def post():
            return await client.post("/v1/attack?steps=1", content=png, headers=headers)

        posted = [asyncio.create_task(post()) for _ in range(8)]
        await until(lambda: sum(task.done() for task in posted) == 7)
        assert slow_decoder.count == 1
        assert client.service.attacks.held == 1
        assert client.service.memory.used == len(png)
        slow_decoder.set()
        answers = [await task for task in posted]
        assert sorted(answer.status_code for answer in answers) == [200] + [503] * 7


@pytest.mark.parametrize("headers", [PNG, EVENTS])
async def test_only_small_images_wait_for_an_attack(engine, asking, held_back, until, headers):
    alive, decode = weakref.WeakSet(), service.decode_image

    def watched(content, max_pixels):
        image = decode(content, max_pixels)
        alive.add(image.pixels)
        return image

    async with asking(engine, attack_places=3) as client:
        large = encode_png(torch.zeros(3, 300, 450))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service, "decode_image", watched)
            posts = [
                client.post("/v1/attack?steps=1", content=large, headers=headers) for _ in range(3)
            ]
            posted = [asyncio.create_task(post) for post in posts]
            await until(lambda: client.service.attacks.waiting == 2)
            await until(lambda: client.service.memory.used == 0)
            assert not alive
            held_back.set()
            assert [(await task).status_code for task in posted] == [200] * 3


@pytest.mark.parametrize("headers", [PNG, EVENTS])
async def test_a_client_may_leave_while_its_upload_is_decoded(
    engine, asking, png, until, slow_decoder, headers
):
    async with asking(engine, attack_places=1) as client:
        leave = asyncio.Event()
        app = client._transport.app
        task = asyncio.create_task(call(app, "/v1/attack?steps=1", png, headers, leave))
        await until(lambda: slow_decoder.count == 1)
        leave.set()
        await asyncio.wait_for(task, 5)
        await until(lambda: client.service.attacks.held == 0)
        assert client.service.memory.used == 0
        slow_decoder.set()
        assert (await client.post("/v1/attack?steps=1", content=png, headers=PNG)).is_success


@pytest.mark.parametrize("headers", [PNG, EVENTS])
async def test_decoding_has_a_time_limit(engine, asking, png, slow_decoder, headers):
    async with asking(engine, answer_seconds=0.05) as client:
        answer = await client.post("/v1/attack?steps=1", content=png, headers=headers)
        assert answer.status_code == 504
        assert "smaller image" in answer.json()["detail"]
        slow_decoder.set()


@pytest.mark.parametrize("path", ["/v1/attack?steps=1", "/v1/purify"])
async def test_uploads_of_clients_that_left_wait_nowhere(
    engine, asking, png, until, slow_decoder, path
):
    async with asking(engine, small_pixels=1) as client:
        app, codec = client._transport.app, client.service._large.codec
        first = asyncio.create_task(client.post(path, content=png, headers=PNG))
        await until(lambda: slow_decoder.count == 1)
        lane = client.service.attacks if "attack" in path else client.service._large.lane
        for _ in range(3):
            leave = asyncio.Event()
            task = asyncio.create_task(call(app, path, png, PNG, leave))
            await until(lambda: lane.held == 2)
            await asyncio.sleep(0.02)
            leave.set()
            await task
            await until(lambda: lane.held == 1)
        assert codec._work_queue.qsize() == 0
        slow_decoder.set()
        assert (await first).is_success


@pytest.mark.parametrize("headers", [PNG, EVENTS])
async def test_a_broken_image_is_refused_with_its_status(client, png, headers):
    answer = await client.post("/v1/attack?steps=1", content=png[:-30], headers=headers)
    assert answer.status_code == 422
    assert "cannot be read" in answer.json()["detail"]
    assert client.service.attacks.held == 0


async def test_a_victim_that_is_named_twice_is_asked_once(client, png):
    answer = await client.post(
        "/v1/attack?steps=1&victim=small&victim=small", content=png, headers=PNG
    )
    assert [one["victim"] for one in answer.json()["answers"]["clean"]] == ["small"]


def test_the_summary_counts_classifiers():
    def row(*indices):
        return {
            key: [
                Prediction(
                    victim=str(number),
                    task="classify",
                    classes=[ClassScore(index=index, name="x", probability=1)],
                    boxes=[],
                )
                for number, index in enumerate(column)
            ]
            for key, column in zip(("clean", "attacked", "purified"), indices, strict=True)
        }

    text = summary(row((1, 1, 1), (1, 2, 2), (1, 1, 3)), 16 / 255, 10)
    assert "SSP with 10 steps changed the image by at most 16/255" in text
    assert "first answer of 2 of 3 classifiers" in text
    assert "back for 1 of 2" in text
    assert "had not" not in text
    assert "0 %" in text
    assert "It changed 1 that the attack had not" in summary(row((1,), (1,), (2,)), 0.1, 1)
    assert "back" not in summary(row((1,), (1,), (1,)), 0.1, 1)
    assert summary({"clean": [], "attacked": [], "purified": []}, 0.1, 1).endswith(KNOWS)
