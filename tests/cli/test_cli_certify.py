import json

import pytest
import torch
from torch import nn

from nrpurify import models
from nrpurify.cli import main


@pytest.fixture
def run(photos, tmp_path, monkeypatch, capsys, tiny_file):
    class Bright(nn.Module):
        def forward(self, images):
            margin = images.mean((1, 2, 3)) - 2
            return torch.stack([-margin, margin], 1)

    monkeypatch.setattr(models, "load_classifier", lambda name: Bright())
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\na.png,0\nb.jpg,1\n")
    given = ["certify", str(photos), "--labels", str(labels), "--out", str(tmp_path / "out")]
    given += ["--purifier", tiny_file, "--n0", "4", "--n", "32", "--size", "32", "--device", "cpu"]

    def call(*args):
        code = main([*given, *map(str, args)])
        return code, *capsys.readouterr()

    return call


def test_a_folder_is_certified(run, tmp_path):
    code, out, err = run("--json")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((tmp_path / "out" / "certify.json").read_text())
    assert found["images"] == 2
    assert found["certified_accuracy"]["0.125"] == 0.5
    assert found["settings"]["purifier_sha256"]
    svg = (tmp_path / "out" / "certify.svg").read_text()
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "l2 radius" in svg
    assert run()[0] == 2
    code, out, err = run("--resume")
    assert code == 0, err
    assert "50.0" in out
    assert "2 images, abstained on 0" in err
    assert "certify.json" in err


def test_files_that_cannot_be_read_are_named_and_counted(run, photos, tmp_path):
    (photos / "b.jpg").unlink()
    (photos / "b.jpg").symlink_to("nothing")
    code, _, err = run()
    assert code == 1
    assert "1 image, abstained on 0" in err
    assert "b.jpg" in err
    (reason,) = json.loads((tmp_path / "out" / "certify.json").read_text())["broken"]
    assert "a link to nothing" in reason


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--sigma", 0), "sigma is 0.0; expected"),
        (("--classes", "x"), "leave it or --labels out"),
        (("--plugin", "absent.py"), "absent.py"),
    ],
)
def test_bad_options_are_named(run, args, message):
    code, _, err = run(*args)
    assert code == 2
    assert message in err


def test_images_without_labels_name_both_ways(photos, tmp_path, capsys):
    (photos / "sub" / "c.png").unlink()
    for command in ("certify", "evaluate"):
        assert main([command, str(photos), "--out", str(tmp_path / "out")]) == 2
        assert "(--labels FILE.csv, in plans and Python: labels)" in capsys.readouterr().err
