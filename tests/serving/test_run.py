"""The command: a real server in a process of its own."""

import contextlib
import json
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx2
import pytest
import torch
import uvicorn

from nrpurify.core.errors import InputError
from nrpurify.core.images import encode_png
from nrpurify.serving import run as serving
from nrpurify.serving.run import _announce, _free_port
from nrpurify.serving.settings import ServeSettings

DEFENSE = """
import time

import nrpurify


@nrpurify.register_defense("slow", source="a test")
def slow():
    def wait(images):
        time.sleep(1)
        return images

    return wait
"""
TOKEN = "a-token-of-a-test-server"


@pytest.fixture
def server(tmp_path):
    """Starts servers; ends them."""
    started = []

    def start(*options, **environment):
        (tmp_path / "slow.py").write_text(DEFENSE)
        words = ["serve", "--port", "0", "--no-attack", *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "nrpurify", *words],
            stderr=subprocess.PIPE,
            text=True,
            env={**__import__("os").environ, **environment},
        )
        started.append(process)
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"serving on (\S+);", line):
                break
        else:
            raise AssertionError("".join(lines))

        def read():
            with contextlib.suppress(ValueError):  # closed at the end of the test
                lines.extend(process.stderr)

        rest = threading.Thread(target=read, daemon=True)
        rest.start()
        address = found[1]
        with httpx2.Client(base_url=address, timeout=120) as client:  # until torch is imported
            for _ in range(400):
                if client.get("/readyz").status_code == 200:
                    break
                time.sleep(0.05)
            else:
                raise AssertionError("".join(lines))
        return process, address, lines, rest

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_sigterm_answers_what_was_taken(server, tmp_path):
    process, address, lines, rest = server(
        *("--plugin", str(tmp_path / "slow.py"), "--purifier", "slow", "--log-format", "json"),
        NRPURIFY_SERVE_TOKEN=TOKEN,
    )
    png, answers = encode_png(torch.rand(3, 8, 8)), []
    headers = {"content-type": "image/png", "authorization": f"Bearer {TOKEN}"}
    assert httpx2.post(f"{address}/v1/purify", content=png).status_code == 401

    def ask():
        answers.append(
            httpx2.post(f"{address}/v1/purify", content=png, headers=headers).status_code
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    taken = 'nrpurify_places_held{lane="images"} 4.0'
    with httpx2.Client(base_url=address, headers=headers) as client:
        for _ in range(100):
            if taken in client.get("/metrics").text:
                break
            time.sleep(0.02)
        else:
            raise AssertionError("the requests were not taken")
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(20)
    assert answers == [200] * 4
    assert process.wait(10) == 0
    rest.join(10)
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert [one["status"] for one in logged if one.get("route") == "/v1/purify"] == [
        401,
        *answers,
    ]
    assert TOKEN not in "".join(lines)


@pytest.mark.slow
def test_a_port_in_use_and_a_wrong_name_end_the_command_with_a_line(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        found = run("--port", port, "--purifier", "jpeg", "--no-attack")
        assert "choose another --port" in found.stderr
    found = run("--port", "0", "--purifier", "no-such", "--no-attack")
    assert "no defense 'no-such'" in found.stderr


def run(*options):
    found = subprocess.run(
        [sys.executable, "-m", "nrpurify", "serve", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    return found


def test_the_address_of_several_workers_is_told_when_connections_are_taken():
    port, told = _free_port("127.0.0.1", 0), queue.Queue()
    threading.Thread(target=_announce, args=("127.0.0.1", port, told.put), daemon=True).start()
    with pytest.raises(queue.Empty):
        told.get(timeout=0.3)
    with socket.create_server(("127.0.0.1", port)):
        assert told.get(timeout=10) == f"http://127.0.0.1:{port}"
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}"):
            _free_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "name.invalid"])
def test_a_host_that_is_no_address_is_named(host):
    config = uvicorn.Config(lambda *args: None, host=host, port=1, lifespan="off", log_config=None)
    for start in (serving._Server(config, print).run, lambda: _free_port(host, 1)):
        with pytest.raises(InputError, match=f"cannot listen on {host}:1; .* --host"):
            start()


@pytest.mark.slow
def test_workers_share_a_port_and_their_metrics(server):
    process, address, _, _ = server("--workers", "2", "--purifier", "jpeg")
    png = encode_png(torch.rand(3, 8, 8))
    headers = {"content-type": "image/png"}
    done = 0
    while done < 8:  # one worker may be ready before the other
        status = httpx2.post(f"{address}/v1/purify", content=png, headers=headers).status_code
        assert status in (200, 503)
        done += status == 200
    text = httpx2.get(f"{address}/metrics").text
    assert 'nrpurify_images_total{lane="images"} 8.0' in text
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_the_command_gives_names_and_limits(monkeypatch, tmp_path):
    import nrpurify.serving.run
    from nrpurify.cli import main

    given = {}

    def keep(settings, **options):
        given.update(options, settings=settings)

    monkeypatch.setattr(nrpurify.serving.run, "run_server", keep)
    words = "serve --purifier fast --purifier mild=jpeg:quality=50 --victim efficientnet_lite0"
    token = str(tmp_path / "token")
    code = main([*words.split(), "--no-attack", "--max-bytes", "1000", "--token-file", token])
    assert code == 0
    settings = given["settings"]
    assert settings.purifiers == {"fast": "fast", "mild": "jpeg:quality=50"}
    assert settings.victims == {"efficientnet_lite0": "efficientnet_lite0"}
    assert (settings.attack, settings.max_bytes) == (False, 1000)
    assert given["token_file"] == tmp_path / "token"
    assert given["port"] == 8000
    assert main(["serve", "--purifier", "fast", "--purifier", "fast"]) == 2


def test_a_server_in_this_process(monkeypatch):
    """What the command starts, without a network."""
    made = []
    monkeypatch.setattr(serving._Server, "run", lambda self: made.append(self.config))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    settings = ServeSettings(purifiers={"none": "none"}, victims={}, attack=False)
    serving.run_server(settings, host="127.0.0.1", port=0, log_format="json")
    assert (made[0].host, made[0].port, made[0].access_log) == ("127.0.0.1", 0, False)
    assert made[0].timeout_graceful_shutdown > settings.answer_seconds
    with pytest.raises(SystemExit):
        serving._end(signal.SIGTERM, None)


def test_workers_get_their_settings_by_the_environment(monkeypatch, tmp_path):
    settings = ServeSettings(purifiers={"none": "none"}, victims={}, attack=False)
    (tmp_path / "token").write_text(TOKEN)
    seen = []

    def worker(target, *, port, workers, factory, **options):
        app = serving.app_from_environment()
        seen.append((target.partition(":")[2], workers, factory, port > 0, app.title))

    monkeypatch.setattr(serving.uvicorn, "run", worker)
    monkeypatch.setattr(serving, "_announce", lambda *address: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    for name in ("PROMETHEUS_MULTIPROC_DIR", serving._SETTINGS, serving._LOGS, serving._PLUGINS):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(serving._TOKEN_FILE, "")
    serving.run_server(settings, host="127.0.0.1", port=0, workers=2, token_file=tmp_path / "token")
    assert seen == [("app_from_environment", 2, True, True, "nrpurify")]
