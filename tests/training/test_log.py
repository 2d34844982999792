import json
import sys

import pytest

from nrpurify.core.errors import WeightsError
from nrpurify.training.log import RunLog


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def no_board(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def test_lines(tmp_path, no_board):
    log = RunLog(tmp_path)
    log.write("train", 1, {"loss": 0.5})
    log.write("validation", 1, {"psnr": 30.0})
    log.close()
    first, second = rows(tmp_path)
    assert (first["kind"], first["step"], first["loss"]) == ("train", 1, 0.5)
    assert (second["kind"], second["psnr"]) == ("validation", 30.0)
    assert first["seconds"] >= 0
    assert not (tmp_path / "tensorboard").exists()


def test_later_and_half_written_lines_are_taken_out(tmp_path, no_board):
    log = RunLog(tmp_path)
    for step in range(1, 5):
        log.write("train", step, {"loss": 1.0})
    with log.file.open("a") as out:
        out.write('{"kind": "train", "step": 2, "lo')
    again = RunLog(tmp_path, step=2)
    again.write("train", 3, {"loss": 2.0})
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [(1, 1.0), (2, 1.0), (3, 2.0)]


@pytest.mark.parametrize("line", ["{}", "{1}", '{"step": "a", "seconds": 1}', '{"step": 1}'])
def test_a_damaged_line_is_named(tmp_path, no_board, line):
    RunLog(tmp_path).write("train", 1, {"loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as out:
        out.write(f"{line}\n")
    with pytest.raises(WeightsError, match=r"log\.jsonl, line 2 is .* delete the line"):
        RunLog(tmp_path)


def test_a_log_that_is_no_text_is_named(tmp_path, no_board):
    (tmp_path / "log.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(WeightsError, match=r"log\.jsonl cannot be read: .*; delete it"):
        RunLog(tmp_path)


def test_a_full_disk_is_named(tmp_path, no_board):
    log = RunLog(tmp_path)
    log.file = tmp_path
    with pytest.raises(WeightsError, match="cannot be written"):
        log.write("train", 1, {})


def test_seconds_go_on_after_a_resume(tmp_path, no_board):
    line = {"kind": "train", "step": 1, "seconds": 500.0}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    RunLog(tmp_path, step=1).write("train", 2, {"loss": 1.0})
    assert 500 <= rows(tmp_path)[1]["seconds"] < 600


def test_a_kill_while_lines_are_taken_out_loses_none(tmp_path, no_board, monkeypatch):
    RunLog(tmp_path).write("train", 1, {"loss": 1.0})

    def fail(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        RunLog(tmp_path, step=1)
    assert len(rows(tmp_path)) == 1


def test_tensorboard_gets_the_values(tmp_path):
    pytest.importorskip("tensorboard")
    log = RunLog(tmp_path)
    log.write("train", 1, {"loss": 0.5})
    log.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in file.read_bytes()
