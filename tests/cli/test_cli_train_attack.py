import json

import pytest

from nrpurify.attacks import load_generator, load_pattern
from nrpurify.batch import read_records

CDA = """size: small
layer: conv1_2
steps: 2
batch: 2
crop: 16
resize: [16, 20]
holdout: 0.3
checkpoint_every: 1
validation: {photos: 0}
network: vgg16
"""


@pytest.fixture
def recipe(tmp_path, random_weights):
    path = tmp_path / "micro.yaml"
    path.write_text(CDA)
    return path


def test_train_and_use_a_generator(run, recipe, photos, tmp_path):
    out = tmp_path / "run"
    args = ("train-attack", "cda", photos, "--out", out, "--recipe", recipe, "--device", "cpu")
    code, text, err = run(*args, "--json")
    assert code == 0
    result = json.loads(text)
    assert (result["steps"], result["metrics"]) == (2, {})
    assert "2 steps in" in err
    assert not load_generator(result["generator"]).training
    assert run(*args)[0] == 2
    assert run(*args, "--resume")[0] == 0
    code, _, _ = run(
        "attack", photos, tmp_path / "out", "--name", "cda", "--trained", result["generator"],
        "--eps", "8/255", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    settings = read_records(tmp_path / "out").head()["settings"]
    assert settings["trained"] == "generator.safetensors"
    assert len(settings["trained_sha256"]) == 64
    assert settings["smooth"] is False
    assert settings["eps"] == 8 / 255


def test_make_and_use_a_pattern(run, photos, tmp_path, random_weights):
    (tmp_path / "p.yaml").write_text("layers: [conv1_1]\nside: 8\nsteps: 3\n")
    file = tmp_path / "p.safetensors"
    code, text, err = run(
        "train-attack", "fff", "--out", file, "--recipe", tmp_path / "p.yaml", "--steps", 2,
        "--seed", 4, "--device", "cpu", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(text)["steps"] == 2
    assert "2 steps in" in err
    assert load_pattern(file).shape == (3, 8, 8)
    code, _, _ = run("attack", photos, tmp_path / "out", "--name", "fff", "--trained", file)
    assert code == 0
    settings = read_records(tmp_path / "out").head()["settings"]
    assert settings["eps"] == 16 / 255
    assert "settled" not in settings


@pytest.mark.parametrize("name", ["cda", "fff"])
def test_shipped_results_work_out_of_the_box(run, photos, tmp_path, name):
    code, text, _ = run("attack", photos, tmp_path / "out", "--name", name, "--json")
    assert code == 0
    result = json.loads(text)
    assert result["done"] == 2
    assert 8 / 255 < result["linf"] <= 16 / 255 + 1e-6


def test_trained_is_for_trained_attacks(run, photos, tmp_path):
    code, _, err = run(
        "attack", photos, tmp_path / "o", "--name", "noise", "--trained", tmp_path / "x"
    )
    assert code == 2
    assert "trained was given; noise has no such setting" in err
    code, _, err = run("attack", photos, tmp_path / "o", "--name", "cda", "--surrogate", "vgg16")
    assert code == 2
    assert "surrogate was given" in err
