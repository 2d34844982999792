"""``nrpurify purify --server``: files as on this machine, with manifest, retries and resume."""

import json

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from nrpurify.cli import main
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


def test_names_and_options_are_checked_first(address, photos, tmp_path, capsys):
    words = ["purify", str(photos), f"{tmp_path}/out/", "--server", address]
    assert main([*words, "--purifier", "large"]) == 2
    assert "expected one of fast, mild, noisy" in capsys.readouterr().err
    assert main([*words, "--defense", "median"]) == 2
    assert "--server and --defense" in capsys.readouterr().err
