"""``nrpurify purify --server``: files as on this machine, with manifest, retries and resume."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from nrpurify.cli import main
from nrpurify.core.errors import InputError
from nrpurify.core.images import write_png
from nrpurify.serving import client as module
from nrpurify.serving.client import ServerPurifier
from nrpurify.serving.lane import Lane
from nrpurify.serving.problems import BusyError, RequestError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for index in range(3):
        write_png(folder / f"{index}.png", torch.rand(3, 18, 20), torch.rand(1, 18, 20))
    return folder


def pixels(path):
    return np.asarray(PilImage.open(path))


def test_outputs_are_those_of_this_machine(address, photos, tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    assert main(["purify", str(photos), f"{there}/", "--server", address]) == 0
    assert main(["purify", str(photos), f"{here}/", "--purifier", "fast"]) == 0
    for index in range(3):
        assert (pixels(there / f"{index}.png") == pixels(here / f"{index}.png")).all()
    head = json.loads((there / "manifest.jsonl").read_text().splitlines()[0])
    assert head["settings"]["server_purifier"] == "fast"
    assert len(head["settings"]["server_sha256"]) == 64
    assert address not in (there / "manifest.jsonl").read_text()  # another replica may go on


def test_the_same_command_makes_what_is_missing(address, photos, tmp_path, capsys):
    words = ["purify", str(photos), f"{tmp_path}/out/", "--server", address, "--json"]
    assert main(words) == 0
    (tmp_path / "out" / "1.png").unlink()
    capsys.readouterr()
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["done"], found["skipped"]) == (1, 2)
    assert main([*words[:-1], "--purifier", "mild"]) == 2  # other settings need --overwrite


@pytest.mark.parametrize(("token", "told"), [(None, "needs its token"), ("x", "refuses the token")])
def test_a_server_with_a_token_says_where_to_put_it(engine, serving, token, told):
    with serving(engine, token="0123456789abcdef") as address, pytest.raises(InputError) as refused:
        ServerPurifier(address, token=token)
    assert told in str(refused.value)
    assert "NRPURIFY_SERVE_TOKEN" in str(refused.value)


def test_one_refused_image_does_not_stop_the_others(address, photos, tmp_path, capsys, monkeypatch):
    from nrpurify.serving import service

    decode = service.decode_image

    def refuses(content, max_pixels):
        image = decode(content, max_pixels)
        if image.pixels.shape[2] == 33:
            raise RequestError(413, "the image has too many pixels: send a smaller one")
        return image

    monkeypatch.setattr(service, "decode_image", refuses)
    write_png(photos / "large.png", torch.rand(3, 18, 33))
    (photos / "broken.png").write_bytes(b"no image")
    assert main(["purify", str(photos), f"{tmp_path}/out/", "--server", address]) == 1
    told = capsys.readouterr().err
    assert "3 purified, 0 kept, 2 failed" in told
    assert "send a smaller one" in told


def test_busy_servers_and_lost_connections_are_asked_again(address, photos, tmp_path, monkeypatch):
    waits, asked = [], []
    monkeypatch.setattr(module.time, "sleep", waits.append)

    def busy(self):
        asked.append(1)
        if len(asked) == 1:
            raise BusyError("all places are taken", 6)
        if len(asked) == 2:
            raise RuntimeError("a failure")

    purifier = ServerPurifier(address)
    monkeypatch.setattr(Lane, "check_room", busy)
    with pytest.raises(OSError, match="its log"):
        purifier(torch.rand(1, 3, 8, 8))
    assert waits == [6]
    assert purifier(torch.rand(2, 3, 8, 9)).shape == (2, 3, 8, 9)


def test_a_server_that_is_not_there_ends_the_command_with_a_line(
    photos, tmp_path, capsys, monkeypatch
):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    words = ["purify", str(photos), f"{tmp_path}/out/", "--server"]
    assert main([*words, "http://127.0.0.1:9"]) == 2
    assert "gave no answer in 5 tries" in capsys.readouterr().err
    assert len(waits) == 4
    assert waits == sorted(waits)
    assert main([*words, "127.0.0.1:8000"]) == 2
    assert "http://127.0.0.1:8000" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8000",
        "ftp://127.0.0.1",
        "http://",
        "http://:80",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:abc",
        "http://[::1",
        "http://[zz]:9",
        "http://a..b",
        f"http://{'x' * 70}",
        "http://a b",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\u00fc",
    ],
)
def test_addresses_are_checked_before_a_server_is_asked(address, monkeypatch):
    monkeypatch.setattr(ServerPurifier, "_ask", None)
    with pytest.raises(InputError) as caught:
        ServerPurifier(address)
    assert repr(address) in str(caught.value)
    assert "such as http://127.0.0.1:8000" in str(caught.value)


def test_an_ipv6_address_needs_no_port(monkeypatch):
    listed = b'[{"name": "fast", "sha256": "0", "precision": "fp32"}]'
    monkeypatch.setattr(ServerPurifier, "_ask", lambda *args, **options: listed)
    with ServerPurifier("http://[fe80::12]")._connection() as connection:
        assert (connection.host, connection.port) == ("fe80::12", 80)


@pytest.fixture
def foreign():
    """A server of something else: its address, and what it answers."""
    answer = {"status": 200, "body": b"", "headers": {}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer["status"])
            for name, value in answer["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answer
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b"7",
        b'["fast"]',
        b'[{"name": "fast"}]',
        b'[["fast"]]',
        b"[" * 100_000,
    ],
)
def test_other_servers_are_named(foreign, body, photos, tmp_path, capsys):
    address, answer = foreign
    answer["body"] = body
    assert main(["purify", str(photos), f"{tmp_path}/out/", "--server", address]) == 2
    told = capsys.readouterr().err.replace("\n", " ")
    assert address in told
    assert "no server of nrpurify serve" in told


@pytest.mark.parametrize("status", [301, 404])
def test_refusals_of_other_servers_name_the_address(foreign, status):
    address, answer = foreign
    answer |= {"status": status, "body": b"<html></html>", "headers": {"Location": "http://x/"}}
    with pytest.raises(InputError, match="no server of nrpurify serve") as caught:
        ServerPurifier(address)
    assert address in str(caught.value)
    assert str(status) in str(caught.value)
    assert ("http://x/" in str(caught.value)) == (status == 301)


def test_names_and_options_are_checked_first(address, photos, tmp_path, capsys):
    words = ["purify", str(photos), f"{tmp_path}/out/", "--server", address]
    assert main([*words, "--purifier", "large"]) == 2
    assert "expected one of fast, mild, noisy" in capsys.readouterr().err
    assert main([*words, "--defense", "median"]) == 2
    assert "--server and --defense" in capsys.readouterr().err
