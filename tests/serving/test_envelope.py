"""Ids, token, headers, logs, metrics, and the description of the API."""

import json
import logging
import re

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from nrpurify.core.errors import InputError
from nrpurify.serving.envelope import JsonFormatter
from nrpurify.serving.settings import TOKEN_VARIABLE, ServeSettings, by_name, read_token

pytestmark = pytest.mark.anyio
PNG = {"content-type": "image/png"}
TOKEN = "0123456789abcdef-token"


async def test_every_answer_has_the_headers(client, png):
    for answer in (
        await client.get("/"),
        await client.get("/healthz"),
        await client.get("/nothing"),
        await client.post("/v1/purify", content=png, headers=PNG),
        await client.post("/v1/purify", content=b"x"),
    ):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers
        assert len(answer.headers["x-request-id"]) == 32
    assert answer.headers["cache-control"] == "no-store"


async def test_ids_of_clients_are_kept_if_they_are_plain(client):
    async def given(text):
        return (await client.get("/healthz", headers={"x-request-id": text})).headers[
            "x-request-id"
        ]

    assert await given("job-17.a") == "job-17.a"
    for strange in ('a"b', "x" * 65, "a b"):
        assert len(await given(strange)) == 32


async def test_the_token_guards_api_and_metrics(engine, asking, png):
    async with asking(engine, token=TOKEN) as client:
        for path in ("/healthz", "/readyz", "/"):
            assert (await client.get(path)).status_code == 200
        for path in ("/metrics", "/v1/models"):
            assert (await client.get(path)).status_code == 401
        for given in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü"):
            headers = {**PNG, "authorization": given.encode()}
            answer = await client.post("/v1/purify", content=png, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer TOKEN" in answer.json()["detail"]
        headers = {**PNG, "authorization": f"Bearer {TOKEN}"}
        answer = await client.post("/v1/purify", content=png, headers=headers)
        assert answer.status_code == 200
        assert (await client.get("/metrics", headers=headers)).status_code == 200


async def _get(app, path):
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as client:
        return (await client.get(f"http://server{path}")).status_code


async def _asgi(app, root_path, path):
    """What uvicorn makes of a path behind a prefix."""
    transport = httpx2.ASGITransport(app, root_path=root_path)
    async with httpx2.AsyncClient(transport=transport) as client:
        return (await client.get(f"http://server{root_path}{path}")).status_code


async def test_the_token_guards_behind_a_prefix(engine, asking):
    async with asking(engine, token=TOKEN) as client:
        app = client._transport.app
        mounted = Starlette(routes=[Mount("/nr", app)])
        for path, status in (
            ("/v1/models", 401),
            ("/v1/purifiers", 401),
            ("/metrics", 401),
            ("/", 200),
            ("/app.js", 200),
            ("/healthz", 200),
            ("/openapi.json", 200),
        ):
            assert await _get(mounted, f"/nr{path}") == status
            assert await _asgi(app, "/nr", path) == status
            assert await _asgi(app, "/v1", path) == status


async def test_only_the_page_and_the_probes_need_no_token(engine, asking):
    async with asking(engine, token=TOKEN) as client:
        app = client._transport.app
        paths = {route.path for route in app.routes if isinstance(route, Route)}
        open_to_all = {path for path in paths if await _get(app, path) != 401}
        assert open_to_all == {"/healthz", "/readyz", "/openapi.json"}
        page = (await client.get("/")).text
        for name in ("", *re.findall(r'(?:src|href)="([^"#]+)"', page), "examples/cat.webp"):
            assert (await client.get(f"/{name}")).status_code == 200
        for path in ("/nothing", "//v1/models", "/v1", "/metrics/", "/healthz%0A", "/x/../metrics"):
            assert await _get(app, path) == 401


async def test_pages_of_other_sites_cannot_post(client, png):
    headers = {**PNG, "sec-fetch-site": "cross-site"}
    assert (await client.post("/v1/purify", content=png, headers=headers)).status_code == 403
    headers["sec-fetch-site"] = "same-origin"
    assert (await client.post("/v1/purify", content=png, headers=headers)).status_code == 200


async def test_logs_tell_the_request_and_nothing_of_the_image(client, png, caplog):
    caplog.set_level(logging.INFO, "nrpurify.serving")
    await client.post(
        "/v1/purify?purifier=mild",
        files={"image": ("secret-name.png", png)},
        headers={"x-request-id": "r1"},
    )
    (record,) = [one for one in caplog.records if one.name == "nrpurify.serving"]
    line = json.loads(JsonFormatter().format(record))
    assert (line["request_id"], line["route"], line["status"]) == ("r1", "/v1/purify", 200)
    assert line["level"] == "info"
    assert line["seconds"] > 0
    assert "secret-name" not in str(line)


async def test_metrics_count_requests_images_and_places(client, png):
    await client.post("/v1/purify", content=png, headers=PNG)
    await client.post("/v1/purify", content=b"", headers=PNG)
    await client.get("/x" * 50)
    text = (await client.get("/metrics")).text
    for line in (
        'nrpurify_http_requests_total{method="POST",route="/v1/purify",status="200"} 1.0',
        'nrpurify_http_requests_total{method="POST",route="/v1/purify",status="415"} 1.0',
        'nrpurify_images_total{lane="images"} 1.0',
        'nrpurify_places_held{lane="images"} 0.0',
        "nrpurify_batch_images_count 1.0",
    ):
        assert line in text
    assert "/x/x" not in text  # paths of clients are no labels


async def test_the_description_names_bodies_answers_and_refusals(client):
    found = (await client.get("/openapi.json")).json()
    purify = found["paths"]["/v1/purify"]["post"]
    assert "multipart/form-data" in purify["requestBody"]["content"]
    assert set(purify["responses"]) >= {"200", "401", "408", "413", "415", "422", "503", "504"}
    assert "image/png" in purify["responses"]["200"]["content"]
    example = found["components"]["schemas"]["Purified"]["properties"]["gate"]["examples"]
    assert example == [0.98]
    assert (
        "text/event-stream" in found["paths"]["/v1/attack"]["post"]["responses"]["200"]["content"]
    )


async def test_without_attack_there_is_no_route(engine, asking, png):
    async with asking(engine, attack=False) as client:
        answer = await client.post("/v1/attack", content=png, headers=PNG)
        assert answer.status_code == 404
        assert not (await client.get("/v1/models")).json()["limits"]["attack"]


def test_names_of_specs(tmp_path):
    file = tmp_path / "mine.safetensors"
    file.touch()
    given = ["fast", "mild=jpeg:quality=75", "jpeg:quality=50", str(file)]
    assert by_name(given, "purifier") == {
        "fast": "fast",
        "mild": "jpeg:quality=75",
        "jpeg:quality=50": "jpeg:quality=50",
        "mine": str(file),
    }
    with pytest.raises(InputError, match="--purifier NAME=fast"):
        by_name(["fast", "fast"], "purifier")


def test_tokens_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    monkeypatch.setenv(TOKEN_VARIABLE, "another-one-of-20-letters")
    assert read_token(file) == TOKEN
    assert read_token(None) == "another-one-of-20-letters"
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    with pytest.raises(InputError, match="16 printable"):
        read_token(None)
    with pytest.raises(InputError, match="cannot be read"):
        read_token(tmp_path / "missing")


def test_settings_reach_workers_whole():
    settings = ServeSettings(purifiers={"a": "fast"}, victims={}, amp=True, batch=3)
    assert ServeSettings.from_json(settings.to_json()) == settings
    with pytest.raises(InputError, match="no purifier"):
        ServeSettings(purifiers={}, victims={})
    with pytest.raises(InputError, match="places is 0"):
        ServeSettings(purifiers={"a": "fast"}, victims={}, places=0)
    with pytest.raises(InputError, match="waiting_pixels"):
        ServeSettings(purifiers={"a": "fast"}, victims={}, waiting_pixels=5)
