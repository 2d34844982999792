"""The client of docs/operations.md against a real server."""

import re
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "operations.md"


@pytest.fixture
def purify():
    (code,) = re.findall(r"```python\n(.*?def purify.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(code.strip().splitlines()) <= 20
    names = {}
    exec(code, names)
    return names["purify"]


def test_the_client_of_the_docs_gets_its_image(purify, address, png):
    assert purify(address, png).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="expected one of image/png"):
        purify(address, png, "text/plain")


def test_it_waits_when_the_server_asks_for_it(purify, address, png, engine, monkeypatch):
    from nrpurify.serving.lane import Lane
    from nrpurify.serving.problems import BusyError

    asked = []

    def busy_once(self):
        asked.append(time.monotonic())
        if len(asked) == 1:
            raise BusyError("all places are taken", 0)

    monkeypatch.setattr(Lane, "check_room", busy_once)
    assert purify(address, png).startswith(b"\x89PNG")
    assert asked[1] - asked[0] >= 1


def test_a_connection_without_a_whole_head_is_closed(address, monkeypatch):
    import socket

    from nrpurify.serving import run

    monkeypatch.setattr(run, "_HEADER_SECONDS", 0.1)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET /healthz HT")
        assert connection.recv(100) == b""
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in connection.recv(2000)
        connection.sendall(b"GET")
        assert connection.recv(2000) in (b"", b'{"status":"ok"}')


def test_a_body_that_breaks_the_protocol_fails_nobody(address, caplog):
    import socket

    host, port = address.removeprefix("http://").split(":")
    head = b"POST /v1/purify HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert b" 400 " in connection.recv(2000)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in connection.recv(2000)
    assert not [record for record in caplog.records if record.exc_info]
