"""``nrpurify attack`` with the attacks on classifiers, on tiny random networks."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify import attacks, weights
from nrpurify.attacks import get, names
from nrpurify.attacks.spec import spec_settings
from nrpurify.batch import read_records
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.images import read_image
from nrpurify.core.random import derive_generator
from nrpurify.models import as_classifier

STOPPING = ("fab-t", "autoattack", "deepfool", "ddn", "fmn", "cw", "hopskipjump", "simba", "nes")
RESIDUAL = ("sgm", "ghost")  # they need residual blocks: tests/attacks/test_transfer_attacks.py
"""Which need little of the budget where an image is misclassified early."""
CLASSIFIERS = [
    n for n in names() if get(n).surrogate == "classifier" and n not in STOPPING + RESIDUAL
]
FEWER = {
    "apgd-ce": ("--steps", 10, "--restarts", 2),
    "apgd-dlr": ("--steps", 10, "--restarts", 2),
    "square": ("--steps", 30),
    "apgd-t": ("--steps", 5),
}
TABLE = "ImageId,TrueLabel,TargetClass\na,1,4\nb,3,2\nc,5,1\n"


def tiny(name, seed):
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.Tanh(),
        nn.Conv2d(6, 6, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )
    return as_classifier(network, 5, name=name)


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Names of the classifiers that were loaded."""
    found = []

    def load(name, *, device="cpu"):
        found.append(name)
        return tiny(name, len(name)).to(device)

    monkeypatch.setattr("nrpurify.models.load_classifier", load)
    return found


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "images.csv"
    path.write_text(TABLE)
    return path


def manifest(folder):
    records = read_records(folder)
    return {**records.head(), "files": records.files}


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture).astype(int)


@pytest.mark.parametrize("name", [*CLASSIFIERS, "noise"])
def test_every_name_runs_within_its_budget(run, photos, table, tmp_path, name, loaded):
    out = tmp_path / "out"
    code, text, err = run(
        "attack", photos, out, "--name", name, "--labels", table, "-r", "--eps", "8/255", "--json",
        "--amp", "off", *FEWER.get(name, ()),
    )  # fmt: skip
    assert code == 0
    assert json.loads(text)["done"] == 3
    assert json.loads(text)["linf"] == pytest.approx(8 / 255, abs=1e-6)
    settings = manifest(out)["settings"]
    assert settings["attack"] == name
    for key, value in spec_settings(get(name)).items():
        if f"--{key}" not in FEWER.get(name, ()) and key != "step_size":
            assert settings[key] == (value if key != "early_stop" else False)
    if name == "noise":
        assert "noise needs no labels" in err
        assert settings["surrogate"] is None
        assert loaded == []
    else:
        assert settings["surrogate"] == "efficientnet_lite0"
        assert settings.get("labels") == (weights.file_hash(table) if get(name).labels else None)
        assert (f"{name} needs no labels" in err) != get(name).labels
        assert loaded == ["efficientnet_lite0"]


def test_files_get_what_the_function_gives(run, photos, table, tmp_path):
    run("attack", photos, tmp_path, "--name", "dim-ti", "--labels", table, "--steps", 3,
        "--surrogate", "one, three", "--seed", 4, "--amp", "off")  # fmt: skip
    source = photos / "a.png"
    expected = attacks.dim_ti(
        attacks.Ensemble(tiny("one", 3), tiny("three", 5)),
        read_image(source).rgb[None],
        torch.tensor([0]),
        steps=3,
        generator=[derive_generator(4, "attack", pixels_hash(read_image(source).rgb))],
    )
    found = pixels(tmp_path / "a.png").transpose(2, 0, 1)
    assert abs(found - 255 * expected[0].numpy()).max() <= 0.5 + 1e-4
    settings = manifest(tmp_path)["settings"]
    assert settings["surrogate"] == "one,three"
    assert settings["step_size"] == pytest.approx(16 / 255 / 3)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("name", ["dim", "pgd", "square", "apgd-ce"])
def test_batches_and_interruptions_change_nothing(run, photos, photo, table, tmp_path, name, group):
    photo(photos / "b.jpg", 3)
    args = ("--name", name, "--labels", table, "-r", "--amp", "off", "--steps", 3)
    args += ("--group", group)
    assert run("attack", photos, tmp_path / "whole", *args)[0] == 0
    assert run("attack", photos, tmp_path / "parts", *args, "--batch", 4)[0] == 0
    assert manifest(tmp_path / "parts") == manifest(tmp_path / "whole")
    (tmp_path / "parts" / "a.png").unlink()
    code, _, err = run("attack", photos, tmp_path / "parts", *args, "--batch", 4)
    assert code == 0
    assert f"{group} attacked, {3 - group} kept" in err
    for name in ("a.png", "b.png", "sub/c.png"):
        assert (pixels(tmp_path / "whole" / name) == pixels(tmp_path / "parts" / name)).all()


def test_images_without_a_label_are_listed(run, photos, photo, table, tmp_path):
    photo(photos / "nameless.png", 8)
    code, _, err = run("attack", photos, tmp_path / "out", "--name", "fgsm", "--labels", table)
    assert code == 1
    assert "2 attacked, 0 kept, 1 failed" in err
    assert "nameless.png' has no label in" in err
    assert list(manifest(tmp_path / "out")["files"]) == ["a.png", "b.png"]


def test_without_labels_the_surrogate_is_asked(run, photos, tmp_path):
    assert run("attack", photos, tmp_path / "out", "--name", "fgsm")[0] == 0
    assert manifest(tmp_path / "out")["settings"]["labels"] == "predicted"


def test_targets(run, photos, table, tmp_path):
    args = ("attack", photos / "a.png", "--name", "pgd", "--amp", "off")
    code, _, err = run(args[0], args[1], tmp_path / "to", *args[2:], "--targets", table,
                       "--labels", table)  # fmt: skip
    assert code == 0
    assert "a targeted attack needs no labels" in err
    settings = manifest(tmp_path / "to")["settings"]
    assert settings["targets"] == weights.file_hash(table)
    assert "labels" not in settings
    model = tiny("", len("efficientnet_lite0"))
    clean, attacked = (read_image(p).rgb[None] for p in (photos / "a.png", tmp_path / "to/a.png"))
    assert model(attacked).softmax(1)[0, 3] > model(clean).softmax(1)[0, 3]


def test_other_labels_are_other_settings(run, photos, table, tmp_path):
    args = ("attack", photos, tmp_path / "out", "--name", "fgsm", "--labels", table)
    assert run(*args)[0] == 0
    before = contents(tmp_path / "out")
    table.write_text(TABLE.replace("a,1", "a,2"))
    code, _, err = run(*args)
    assert code == 2
    assert "labels was" in err
    assert contents(tmp_path / "out") == before


def test_layers_of_tap(run, photos, tmp_path):
    args = ("attack", photos, tmp_path / "out", "--name", "tap", "--layer", "network.0")
    assert run(*args)[0] == 0
    assert manifest(tmp_path / "out")["settings"]["layers"] == ["network.0"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--name", "mifgsm"), "no attack 'mifgsm'; did you mean mi-fgsm"),
        (("--name", "fgsm", "--steps", 3), "fgsm has no setting 'steps'; there is none"),
        (("--name", "noise", "--surrogate", "vgg16"), "noise has no such setting"),
        (("--name", "pgd", "--restarts", 3), "pgd has no setting 'restarts'; did you mean"),
        (("--name", "dim", "--layer", "network.0"), "layer was given; dim has no such setting"),
        (("--name", "tap", "--layer", "network.9"), "no layer 'network.9'"),
        (("--name", "dim", "--preset", "papr"), "no preset 'papr'"),
        (("--name", "dim", "--labels", "no.csv"), "cannot read the labels in 'no.csv'"),
    ],
)
def test_bad_options(run, photos, tmp_path, args, message):
    code, _, err = run("attack", photos, tmp_path / "out", *args)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ImageId,TrueLabel\na,6\n", "gives 'a' the class 5 (from 0); the surrogate has classes"),
        ("ImageId,TrueLabel\nother,1\n", "none of the 2 images has a label"),
    ],
)
def test_tables_that_do_not_fit(run, photos, table, tmp_path, text, message):
    table.write_text(text)
    code, _, err = run("attack", photos, tmp_path / "out", "--name", "dim", "--labels", table)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_targets_go_with_attacks_that_take_them(run, photos, table, tmp_path):
    for name in ("ssp", "tap"):
        args = ("--name", name, "--targets", table)
        code, _, err = run("attack", photos, tmp_path / "out", *args)
        assert code == 2
        assert f"targets was given; {name} has no such setting" in err


def test_settings_in_the_name_are_those_of_the_options(run, photos, tmp_path):
    common = ("--eps", "8/255", "--amp", "off")
    by_option = ("--name", "mi-fgsm", "--steps", 2, "--step-size", "4/255")
    assert run("attack", photos, tmp_path / "a", *by_option, *common)[0] == 0
    spec = ("--name", "mi-fgsm:steps=2,step_size=4/255")
    assert run("attack", photos, tmp_path / "b", *spec, *common)[0] == 0
    other = ("--name", "mi-fgsm:steps=2,step_size=4/255,momentum=0")
    assert run("attack", photos, tmp_path / "c", *other, *common)[0] == 0
    made = [(tmp_path / folder / "a.png").read_bytes() for folder in "abc"]
    assert made[0] == made[1] != made[2]
    heads = [manifest(tmp_path / folder)["settings"] for folder in "abc"]
    assert heads[0] == heads[1]
    assert (heads[2]["attack"], heads[2]["momentum"]) == ("mi-fgsm", 0.0)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--name", "pgd:stepz=3"), "no setting 'stepz'; did you mean steps"),
        (("--name", "pgd:steps=3", "--steps", 4), "steps is given twice"),
        (("--name", "pgd:steps=0"), "steps is 0"),
    ],
)
def test_settings_in_the_name_that_cannot_be_used(run, photos, tmp_path, args, said):
    code, _, err = run("attack", photos, tmp_path / "out", *args)
    assert code == 2
    assert said in err
    assert not (tmp_path / "out").exists()


def test_an_l2_budget_holds_in_the_files(run, photos, tmp_path):
    out = tmp_path / "out"
    words = ("--name", "pgd", "--norm", "l2", "--eps", "2.0", "-r")
    assert run("attack", photos, out, *words)[0] == 0
    assert manifest(out)["settings"]["norm"] == "l2"
    for name in ("a.png", "sub/c.png"):
        size = float(np.linalg.norm(pixels(out / name) - pixels(photos / name))) / 255
        assert 1.8 < size <= 2.0
        assert manifest(out)["files"][name]["l2"] == pytest.approx(size, rel=1e-5)
    assert run("attack", photos, out, "--name", "ddn", "--eps", "8/255")[0] == 2


@pytest.mark.parametrize("name", ["fab-t:steps=4", "autoattack:steps=3,queries=15"])
def test_attacks_that_stop_early(run, photos, tmp_path, name):
    out = tmp_path / "out"
    code, text, _ = run("attack", photos, out, "--name", name, "-r", "--eps", "8/255", "--json")
    assert code == 0
    assert json.loads(text)["done"] == 3
    assert json.loads(text)["linf"] <= 8 / 255 + 1e-6
    assert manifest(out)["settings"]["steps"] == int(name.split("steps=")[1][0])
