"""/v1/purify and /v1/predict."""

import asyncio
import base64
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from nrpurify.batch.defend import defend_image
from nrpurify.core.images import encode_png, read_image
from nrpurify.purifiers import load_purifier

pytestmark = pytest.mark.anyio
PNG = {"content-type": "image/png"}


def pixels(content):
    return np.asarray(PilImage.open(io.BytesIO(content)))


async def test_a_form_and_raw_bytes_give_what_the_library_gives(client, png):
    form = await client.post("/v1/purify", files={"image": ("a.png", png, "image/png")})
    raw = await client.post("/v1/purify", content=png, headers=PNG)
    assert form.status_code == raw.status_code == 200
    assert form.headers["content-type"] == "image/png"
    assert form.content == raw.content
    rgb, _ = defend_image(
        load_purifier("fast"), read_image(png), device="cpu", tile=512, amp="auto"
    )
    assert (pixels(raw.content) == rgb.permute(1, 2, 0).numpy()).all()
    assert 0 <= float(raw.headers["x-gate"]) <= 1


async def test_json_has_the_same_file_and_more(client, png):
    raw = await client.post("/v1/purify", content=png, headers=PNG)
    found = await client.post(
        "/v1/purify", content=png, headers={**PNG, "accept": "application/json"}
    )
    answer = found.json()
    assert base64.b64decode(answer["image"]) == raw.content
    assert (answer["width"], answer["height"], answer["purifier"]) == (24, 20, "fast")
    assert answer["gate"] == float(raw.headers["x-gate"])
    assert answer["seconds"] > 0


async def test_transparency_and_16_bits_are_kept(client, png):
    rgba = encode_png(torch.rand(3, 20, 24), torch.linspace(0, 1, 480).view(1, 20, 24))
    found = pixels((await client.post("/v1/purify", content=rgba, headers=PNG)).content)
    assert (found[..., 3] == pixels(rgba)[..., 3]).all()
    deep = io.BytesIO()
    PilImage.fromarray(np.full((20, 24), 30_000, np.uint16)).save(deep, "PNG")
    found = await client.post("/v1/purify?purifier=mild", content=deep.getvalue(), headers=PNG)
    assert found.status_code == 200
    assert abs(int(pixels(found.content)[5, 5, 0]) - 117) <= 1


async def test_a_random_defense_depends_on_the_image_alone(client, png):
    first, second = [
        await client.post("/v1/purify?purifier=noisy", content=png, headers=PNG) for _ in range(2)
    ]
    assert first.content == second.content
    assert first.content != png


async def test_a_batch_gives_each_client_its_own_image(engine, asking, png):
    files = [encode_png(torch.rand(3, 20, 24)) for _ in range(3)]
    async with asking(engine, batch=4, batch_seconds=0.5) as client:
        together = await asyncio.gather(
            *(client.post("/v1/purify", content=file, headers=PNG) for file in files)
        )
        alone = [await client.post("/v1/purify", content=file, headers=PNG) for file in files]
        text = (await client.get("/metrics")).text
    assert 'nrpurify_batch_images_bucket{le="1.0"} 3.0' in text  # and one of three
    for one, other in zip(together, alone, strict=True):
        assert one.content == other.content
        assert one.headers["x-gate"] == other.headers["x-gate"]


async def test_small_images_do_not_wait_behind_large_ones(engine, asking, png, monkeypatch, until):
    gate, purify = threading.Event(), engine.purify

    def waits(name, images):
        if images[0].pixels.shape[1] > 20:
            assert gate.wait(10)
        return purify(name, images)

    monkeypatch.setattr(engine, "purify", waits)
    large = encode_png(torch.rand(3, 40, 40))
    async with asking(engine, small_pixels=480) as client:
        first = asyncio.create_task(client.post("/v1/purify", content=large, headers=PNG))
        await until(lambda: client.service._large.lane._running)
        assert (await client.post("/v1/purify", content=png, headers=PNG)).status_code == 200
        text = (await client.get("/metrics")).text
        assert 'nrpurify_places_held{lane="large_images"} 1.0' in text
        gate.set()
        assert (await first).status_code == 200


def test_batches_that_change_a_bit_are_not_used(engine, monkeypatch):
    from nrpurify.core.images import Image
    from nrpurify.serving import engine as module

    calls = []

    def differs(*given, check, **options):
        calls.append(check)

    monkeypatch.setattr(module, "defend_together", differs)
    made = [(torch.rand(3, 16, 18) * 255).to(torch.uint8) for _ in range(2)]
    images = [Image(rgb, None, None) for rgb in made]
    first, again = engine.purify("fast", images), engine.purify("fast", images)
    assert calls == [True]
    alone = [engine.purify("fast", [image])[0] for image in images]
    for found in (first, again):
        assert all(torch.equal(a.rgb, b.rgb) for a, b in zip(found, alone, strict=True))
        assert [one.gate for one in found] == [one.gate for one in alone]


async def test_predictions_carry_names_and_shares(client, png):
    found = (await client.post("/v1/predict?victim=small", content=png, headers=PNG)).json()
    assert (found["victim"], found["purifier"], found["task"]) == ("small", "fast", "classify")
    assert len(found["classes"]) == 5
    assert found["classes"][0]["name"] == f"class {found['classes'][0]['index']}"
    shares = [one["probability"] for one in found["classes"]]
    assert shares == sorted(shares, reverse=True)
    bare = (await client.post("/v1/predict?purifier=none", content=png, headers=PNG)).json()
    assert bare["purifier"] is None
    assert bare["gate"] is None


async def test_boxes_have_names_and_corners(engine):
    from nrpurify.serving.engine import _Victim

    victim = _Victim.__new__(_Victim)
    victim.name, victim.task = "detector", "detect"
    victim.module = lambda images: [
        {
            "boxes": torch.tensor([[1.0, 2, 3, 4], [0, 0, 1, 1]]),
            "scores": torch.tensor([0.9, 0.1]),
            "labels": torch.tensor([17, 17]),
        }
    ]
    (found,) = victim(torch.rand(1, 3, 8, 8))
    (box,) = found.boxes
    assert (box.left, box.top, box.right, box.bottom, box.name) == (1, 2, 3, 4, "cat")


async def test_models_and_limits_are_listed(client):
    (fast, mild, _) = (await client.get("/v1/purifiers")).json()
    assert fast["default"]
    assert fast["gated"]
    assert fast["parameters"] > 1000
    assert not mild["default"]
    found = (await client.get("/v1/models")).json()
    assert found["victims"] == [{"name": "small", "task": "classify"}]
    assert found["limits"]["attack"]


async def test_threads_that_do_not_last_end_and_codecs_use_one_core(engine, asking, png, until):
    def running():
        return {thread.name.rpartition("_")[0] for thread in threading.enumerate()}

    async with asking(engine, small_pixels=100) as client:
        assert (await client.post("/v1/purify", content=png, headers=PNG)).status_code == 200
        await until(lambda: not running() & {"large_images", "loading"})
        codec = client.service._large.codec
        torch.set_num_threads(torch.get_num_threads())
        assert codec.submit(torch.get_num_threads).result() == 1
