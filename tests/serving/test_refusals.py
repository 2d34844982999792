"""Every refusal has its status, and a sentence that says what to do."""

import asyncio
import io

import pytest
import torch
from PIL import Image as PilImage

from nrpurify.core.images import encode_png
from nrpurify.serving.app import create_app
from nrpurify.serving.engine import Engine
from nrpurify.serving.settings import ServeSettings

pytestmark = pytest.mark.anyio
PNG = {"content-type": "image/png"}


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    for word in words:
        assert word in problem["detail"]


@pytest.mark.parametrize(
    "name", ["none", "jpeg:quality=10", "../../etc/passwd", "file.py:build", "python:os:system"]
)
async def test_only_names_of_the_server_are_taken(client, png, name):
    answer = await client.post("/v1/purify", params={"purifier": name}, content=png, headers=PNG)
    refused(answer, 422, "expected one of fast, mild, noisy")
    answer = await client.post("/v1/predict", params={"victim": name}, content=png, headers=PNG)
    refused(answer, 422, "expected one of small")


async def test_a_server_without_victims_says_so(engine, asking, png):
    async with asking(engine, victims={}) as client:
        answer = await client.post("/v1/predict", content=png, headers=PNG)
        refused(answer, 422, "--victim NAME")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "image/svg+xml", ""])
async def test_other_content_types(client, png, kind):
    answer = await client.post("/v1/purify", content=png, headers={"content-type": kind})
    refused(answer, 415, "image/png", "multipart/form-data")


@pytest.mark.parametrize(
    "content", [b"", b"GIF", b"<svg/>", b"%PDF-1.7", b"MM\0*....", b"P6 1 1 255\n...", b"\0" * 99]
)
async def test_content_that_is_no_image(client, content):
    refused(await client.post("/v1/purify", content=content, headers=PNG), 415, "image/png")


async def test_broken_and_truncated_images(client, png):
    for content in (
        png[:60],
        png[:-30],
        png[:8],
        b"\xff\xd8\xff\xe0" + b"x" * 50,
        b"BM" + b"\0" * 60,
    ):
        refused(
            await client.post("/v1/purify", content=content, headers=PNG), 422, "cannot be read"
        )


async def test_animations(client):
    frames = [PilImage.new("RGB", (8, 8), color) for color in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    answer = await client.post("/v1/purify", content=file.getvalue(), headers=PNG)
    refused(answer, 422, "several frames", "still image")


async def test_too_many_bytes_announced_or_not(engine, asking, png):
    async with asking(engine, max_bytes=100) as client:
        refused(await client.post("/v1/purify", content=png, headers=PNG), 413, "100", "smaller")

        async def pieces():
            yield png

        answer = await client.post("/v1/purify", content=pieces(), headers=PNG)
        refused(answer, 413, "100", "smaller")


async def test_too_many_pixels_are_refused_before_they_are_decoded(engine, asking, png):
    async with asking(engine, max_pixels=479) as client:
        answer = await client.post("/v1/purify", content=png, headers=PNG)
        refused(answer, 413, "24×20", "479")
    bomb = bytearray(png)
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    async with asking(engine) as client:
        answer = await client.post("/v1/purify", content=bytes(bomb), headers=PNG)
        assert answer.status_code in (413, 422)


@pytest.mark.parametrize(
    "files",
    [
        [("photo", ("a.png", b"x"))],
        [("image", ("a.png", b"x")), ("image", ("b.png", b"x"))],
        [("image", ("a.png", b"x")), ("purifier", (None, "fast"))],
    ],
)
async def test_forms_with_other_fields(client, files):
    refused(await client.post("/v1/purify", files=files), 422, "'image'")


async def test_a_form_without_boundary(client, png):
    headers = {"content-type": "multipart/form-data"}
    refused(await client.post("/v1/purify", content=png, headers=headers), 422, "form")


async def test_a_slow_upload(engine, asking, png):
    async with asking(engine, upload_seconds=0.05) as client:

        async def pieces():
            yield png[:10]
            await asyncio.sleep(1)
            yield png[10:]

        answer = await client.post("/v1/purify", content=pieces(), headers=PNG)
        refused(answer, 408, "10 bytes")


async def test_a_full_server_says_when_to_come_back(engine, asking, png, held_back, until):
    async with asking(engine, places=1) as client:
        first = asyncio.create_task(client.post("/v1/purify", content=png, headers=PNG))
        await until(lambda: client.service.images.held == 1)
        answer = await client.post("/v1/purify", content=png, headers=PNG)
        refused(answer, 503, "places", "try again")
        assert int(answer.headers["retry-after"]) >= 1
        held_back.set()
        assert (await first).status_code == 200


async def test_uploads_share_a_bounded_memory_and_give_it_back(engine, asking, png):
    async with asking(engine, upload_memory=100) as client:
        answer = await client.post("/v1/purify", content=png, headers=PNG)
        refused(answer, 503, "memory")
        assert answer.headers["retry-after"]
        assert client.service.memory.used == 0


async def test_an_answer_that_takes_too_long(engine, asking, png, held_back):
    async with asking(engine, answer_seconds=0.05) as client:
        answer = await client.post("/v1/purify", content=png, headers=PNG)
        refused(answer, 504, "0.05 s", "smaller image")
        held_back.set()


async def test_not_ready_until_the_models_are_loaded(engine, png, asking):
    async with asking(engine) as client:
        client.service.engine = None
        assert (await client.get("/healthz")).status_code == 200
        for answer in (
            await client.get("/readyz"),
            await client.post("/v1/purify", content=png, headers=PNG),
            await client.get("/v1/models"),
        ):
            refused(answer, 503, "being loaded")
            assert answer.headers["retry-after"]


async def test_models_that_cannot_be_loaded_end_the_server(engine):
    from dataclasses import replace

    failures = []
    settings = replace(engine.settings, purifiers={"x": "no-such-thing"}, attack=False)
    app = create_app(settings, on_failure=failures.append)
    async with app.router.lifespan_context(app), asyncio.timeout(10):
        while not failures:
            await asyncio.sleep(0.01)
    assert "no-such-thing" in str(failures[0])


async def test_a_failure_inside_is_a_500_without_details(client, png, engine, monkeypatch):
    def fails(name, images):
        raise RuntimeError("secret")

    monkeypatch.setattr(engine, "purify", fails)
    answer = await client.post("/v1/purify", content=png, headers=PNG)
    refused(answer, 500, "log")
    assert "secret" not in answer.text
    monkeypatch.undo()
    assert (await client.post("/v1/purify", content=png, headers=PNG)).status_code == 200


async def test_unknown_paths_and_methods(client):
    refused(await client.get("/v2/purify"), 404, "openapi.json")
    refused(await client.get("/v1/purify"), 405, "'/v1/purify' does not take GET")
    refused(await client.get("/../../etc/passwd"), 404)
    refused(await client.post("/v2/purify"), 404, "there is nothing at '/v2/purify'")
    refused(await client.post("/style.css"), 405, "'/style.css' does not take POST")
    refused(await client.post("/"), 405, "'/' does not take POST")


@pytest.mark.parametrize("path", ["/v1/purify", "/v1/predict", "/v1/attack"])
async def test_unknown_parameters_are_refused(client, png, path):
    params = {"purifer": "mild"}
    answer = await client.post(path, params=params, content=png, headers=PNG)
    refused(answer, 422, "there is no parameter 'purifer'", "did you mean purifier?")


async def test_a_bomb_in_a_color_profile_or_text_is_harmless(client):
    import struct
    import zlib

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    plain = encode_png(torch.rand(3, 8, 8))
    packed = zlib.compress(b"\0" * 50_000_000)
    for bomb in (chunk(b"iCCP", b"x\0\0" + packed), chunk(b"zTXt", b"x\0\0" + packed)):
        content = plain[:33] + bomb + plain[33:]
        assert (await client.post("/v1/purify", content=content, headers=PNG)).status_code == 200


async def test_the_log_names_the_path_of_what_was_refused(engine, asking, caplog):
    caplog.set_level("INFO", logger="nrpurify.serving")
    async with asking(engine, token="t" * 16) as client:
        refused(await client.post("/v1/predict"), 401)
        refused(await client.post("/v1/secret"), 401)
        await client.get("/")
    told = [record.getMessage() for record in caplog.records]
    assert any(text.startswith("POST /v1/predict 401") for text in told)
    assert any(text.startswith("POST other 401") for text in told)
    assert any(text.startswith("GET / 200") for text in told)


async def test_names_of_purifiers_that_headers_cannot_hold(asking, png):
    engine = Engine(ServeSettings(purifiers={"清": "jpeg:quality=75"}, victims={}, attack=False))
    async with asking(engine) as client:
        answer = await client.post("/v1/purify", content=png, headers=PNG)
    assert answer.status_code == 200
    assert answer.headers["x-purifier"] == "%E6%B8%85"
