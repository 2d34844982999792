import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from nrpurify.attacks.runner import AttackRunner
from nrpurify.attacks.trained import PATTERN, save_pattern
from nrpurify.core.callables import Function
from nrpurify.core.config import RecipeError
from nrpurify.core.errors import InputError
from nrpurify.core.images import load_batch, read_image
from nrpurify.core.records import read_records
from nrpurify.data.labels import LabeledImage, read_labeled_folder
from nrpurify.defenses import protect
from nrpurify.evaluation import (
    DataSpec,
    EvaluationPlan,
    EvaluationProgress,
    PlannedAttack,
    Samples,
    check_budget,
    compact_table,
    plan_from_dict,
)
from nrpurify.evaluation import run as run_plan
from nrpurify.evaluation.classification import Classify
from nrpurify.evaluation.gallery import shown_defense
from nrpurify.evaluation.plan_checks import check_plan
from nrpurify.evaluation.predictions import predictions
from nrpurify.purifiers import Card, build_purifier
from nrpurify.results import Result, read_run

pytestmark = pytest.mark.usefixtures("offline")
EPS = 0.5


@pytest.fixture
def recipe(photos, purifier_file):
    return EvaluationPlan(
        attacks=(
            PlannedAttack("noise", eps=(8 / 255, EPS)),
            PlannedAttack("fgsm", eps=(EPS,), surrogate=("a", "c")),
        ),
        victims=("a", "b"),
        defenses=("none", "median"),
        data=DataSpec(str(photos), size=32),
        batch=4,
    )


def one(run, **wanted):
    found = [c for c in run["cells"] if all(c[key] == value for key, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


class Seen(EvaluationProgress):
    def __init__(self):
        self.kept, self.warnings, self.work = [], [], []

    def update(self, what, done, total, values=()):
        self.work.append((what, done, total))

    def finished(self, cell, done, total, *, kept):
        self.kept.append(kept)
        self.total = total

    def warned(self, warning):
        self.warnings.append(warning["kind"])


def test_every_cell_is_there_and_says_how_it_came_about(recipe, tmp_path):
    seen = Seen()
    run = run_plan(recipe, tmp_path / "run", progress=seen)
    assert len(run["cells"]) == 2 * 2 + 3 * 2 * 2 == seen.total
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == run.to_dict()
    assert run["images"] == {
        "folder": "photos",
        "n": 6,
        "size": 32,
        "rule": "the first 6 of 6 labeled images, in the order of their paths",
    }
    cell = one(run, attack="fgsm", defense="none", victim="b")
    # one step of 0.5 takes the strongest channel from 0.79 down to 0.29 and the others up
    assert (cell["value"], cell["success"], cell["conditional_success"]) == (0.0, 1.0, 1.0)
    assert cell["interval"][1] == pytest.approx(0.39, abs=0.01)
    assert cell["threat"] == "oblivious transfer"
    assert cell["surrogate"] == "a,c"
    assert cell["seconds"] >= 0
    assert cell["peak_memory_mb"] > 10
    assert one(run, attack="clean", defense="none", victim="a")["value"] == 1.0
    assert one(run, attack="noise", eps=8 / 255, defense="none", victim="a")["value"] == 1.0


def test_an_interrupted_run_says_that_it_is_unfinished(recipe, tmp_path):
    class Stopped(Seen):
        def finished(self, cell, done, total, *, kept):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(recipe, tmp_path / "run", progress=Stopped())
    (said,) = [w for w in read_run(tmp_path / "run").warnings if w["kind"] == "unfinished"]
    assert said["text"].startswith("1 of 16 results")
    run = run_plan(recipe, tmp_path / "run", resume=True)
    assert "unfinished" not in {w["kind"] for w in run.warnings}


def test_a_surrogate_is_no_victim_in_a_mean(recipe, tmp_path):
    run = run_plan(recipe, tmp_path / "run")
    own = one(run, attack="fgsm", defense="none", victim="a")
    assert not own["settings"]["in_mean"]
    assert "surrogate" in own["notes"][0]
    assert [w["kind"] for w in run["warnings"]].count("victim is surrogate") == 1
    cells = [replace(c, value=1.0 if c is own else 0.25) for c in run.cells]
    header, rows = compact_table(replace(run, cells=cells))
    assert header[-2:] == ["none", "median"]
    assert rows[-1] == ["fgsm", "a,c", "127.5/255", "oblivious transfer", "25.0", "25.0"]


@pytest.mark.parametrize("rounding", ["uint8", "float"])
def test_attacked_images_are_kept_rounded_or_not(recipe, tmp_path, rounding):
    recipe = replace(recipe, attacks=(PlannedAttack("noise", eps=(0.1,)),), rounding=rounding)
    recipe = replace(recipe, attacks=(replace(recipe.attacks[0], settings={"kind": "uniform"}),))
    run_plan(recipe, tmp_path / "run")
    (folder,) = (tmp_path / "run" / "adversaries").iterdir()
    manifest = read_records(folder)
    assert manifest.head()["settings"]["kind"] == "uniform"
    assert manifest.head()["settings"]["seed"] == 0
    assert len(manifest.files) == 6
    assert all(0.09 < entry["linf"] <= 0.1 + 0.5 / 255 for entry in manifest.files.values())
    suffix = ".png" if rounding == "uint8" else ".safetensors"
    assert {path.suffix for path in folder.iterdir()} == {suffix, ".jsonl"}


def test_pictures_are_written_for_the_report(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("nrpurify.models.victims.imagenet_classes", lambda: ["red"] * 1000)
    run = run_plan(recipe, tmp_path / "run")
    assert len(run["strips"]) == 3
    panels = run["strips"][0]["panels"]
    assert [panel["file"].split("--")[1] for panel in panels] == [
        "clean.png",
        "attacked.png",
        "purified.png",
    ]
    assert panels[0]["correct"]
    assert "red" in panels[0]["caption"]
    clean, attacked = (
        read_image(tmp_path / "run" / "strips" / panel["file"]).rgb[None] for panel in panels[:2]
    )
    check_budget(clean, attacked, EPS + 0.5 / 255)


def test_pictures_show_the_purifier_and_name_attack_and_surrogates(recipe, purifier_file, tmp_path):
    defenses = ("none", str(purifier_file), "median")
    run = run_plan(replace(recipe, attacks=recipe.attacks[1:], defenses=defenses), tmp_path / "run")
    titles = [panel["title"] for panel in run["strips"][0]["panels"]]
    assert titles == [
        "Clean",
        "Attacked: fgsm made on a and c, ε 128/255",
        f"Purified by {purifier_file}",
    ]


def test_without_a_purifier_pictures_show_the_best_defense():
    defenses = {"none": torch.nn.Identity(), "a": torch.nn.Identity(), "b": torch.nn.Identity()}
    values = (("none", 0.9), ("a", 0.6), ("b", 0.5), ("a", 0.2))
    cells = [Result("", "ssp", "", defense, "", value) for defense, value in values]
    assert shown_defense(defenses, cells) == "b"
    assert shown_defense(defenses | {"p": build_purifier("micro")}, cells) == "p"
    assert shown_defense({"none": torch.nn.Identity()}, cells) is None


def test_trained_attacks_of_other_files_are_told_apart(recipe, tmp_path):
    torch.manual_seed(0)
    pattern = torch.rand(3, 8, 8) - 0.5
    save_pattern(pattern, tmp_path / "mine.safetensors", Card("mine", PATTERN))
    attacks = (
        PlannedAttack("fff", (EPS,)),
        PlannedAttack("fff", (EPS,), trained=str(tmp_path / "mine.safetensors")),
    )
    run = run_plan(replace(recipe, attacks=attacks, defenses=("none",)), tmp_path / "run")
    cells = [cell for cell in run["cells"] if cell["attack"] == "fff"]
    assert len({cell["id"] for cell in cells}) == 2 * len(recipe.victims)
    assert {cell["settings"].get("trained") for cell in cells} == {None, "mine.safetensors"}
    assert {"trained fff", "trained fff mine.safetensors"} <= run["weights_sha256"].keys()
    with pytest.raises(InputError, match=r"attacks\.0\.trained: given; noise is not trained"):
        check_plan(replace(recipe, attacks=(PlannedAttack("noise", trained="x"),)))
    with pytest.raises(InputError, match=r"attacks\.0\.trained: no trained attack 'x'"):
        check_plan(replace(recipe, attacks=(PlannedAttack("fff", trained="x"),)))


def test_trained_attacks_of_two_files_of_one_name(recipe, tmp_path):
    def save(folder):
        pattern = torch.rand(3, 8, 8) - 0.5
        save_pattern(pattern, tmp_path / folder / "mine.safetensors", Card("mine", PATTERN))
        return str(tmp_path / folder / "mine.safetensors")

    files = [save("one"), save("two")]
    attacks = [PlannedAttack("fff", (EPS,), trained=file, label=file[-20:]) for file in files]
    plan = replace(recipe, attacks=tuple(attacks), defenses=("none",))
    run = run_plan(plan, tmp_path / "run")
    assert {"trained fff mine.safetensors", f"trained fff {files[1]}"} <= run.weights_sha256.keys()
    save("one")
    seen = Seen()
    run_plan(plan, tmp_path / "run", resume=True, progress=seen)
    assert seen.kept.count(False) == 2
    unnamed = tuple(replace(attack, label="") for attack in attacks)
    with pytest.raises(InputError, match=r"attacks\.1\.trained: .*give each attack a label"):
        check_plan(replace(plan, attacks=unnamed))


def test_a_label_stands_for_one_attack(recipe):
    first = PlannedAttack("mi-fgsm", (EPS, 0.1), surrogate=("c",), label="mine")
    second = replace(first, eps=(0.1,), settings={"momentum": 0.5})
    with pytest.raises(InputError, match=r"attacks\.1\.label: mine came before"):
        check_plan(replace(recipe, attacks=(first, second)))
    for other in (replace(second, eps=(0.2,)), replace(second, steps=3)):
        check_plan(replace(recipe, attacks=(first, other)))


@pytest.mark.parametrize("with_manifest", [True, False])
def test_images_made_before_within_an_l2_length(recipe, photos, tmp_path, with_manifest):
    attack = PlannedAttack("noise", (1.5,), norm="l2")
    first = run_plan(replace(recipe, attacks=(attack,)), tmp_path / "run")
    (folder,) = (tmp_path / "run" / "adversaries").iterdir()
    for path in list(folder.glob("*.png")):
        path.rename(folder / path.name.partition("-")[2])
    if not with_manifest:
        (folder / "manifest.jsonl").unlink()
    made = PlannedAttack(attacked=str(folder), eps=() if with_manifest else (1.5,), norm="l2")
    again = run_plan(replace(recipe, attacks=(made,)), tmp_path / "again")
    assert {(c.eps, c.norm) for c in again.cells if c.eps} == {(1.5, "l2")}
    assert [c.value for c in again.cells] == [c.value for c in first.cells]
    assert read_run(tmp_path / "again") == again
    assert "ℓ2 1.5" in {row[2] for row in compact_table(again)[1]}
    with pytest.raises(InputError, match=r"by ℓ2 1\.\d+; expected at most eps ℓ2 0\.01"):
        run_plan(replace(recipe, attacks=(replace(made, eps=(0.01,)),)))
    if not with_manifest:
        with pytest.raises(InputError, match="records no ℓ2 length"):
            run_plan(replace(recipe, attacks=(replace(made, eps=()),)))


def test_a_finished_run_is_refused_or_resumed(recipe, tmp_path):
    first = run_plan(recipe, tmp_path / "run")
    with pytest.raises(InputError, match="holds a run; resume it"):
        run_plan(recipe, tmp_path / "run")
    seen = Seen()
    second = run_plan(recipe, tmp_path / "run", resume=True, progress=seen)
    assert all(seen.kept)
    assert second["cells"] == first["cells"]


def test_only_what_changed_is_measured_again(recipe, tmp_path):
    run_plan(recipe, tmp_path / "run")
    more = replace(recipe, attacks=(*recipe.attacks, PlannedAttack("noise", eps=(0.2,))))
    more = replace(more, attacks=(replace(more.attacks[1], eps=(EPS, 0.1)), *more.attacks))
    more = replace(more, attacks=(*more.attacks[:2], more.attacks[3]))
    seen = Seen()
    run_plan(more, tmp_path / "run", resume=True, progress=seen)
    # kept: clean, fgsm at EPS and both noises; measured: fgsm at 0.1 and noise at 0.2
    assert seen.kept.count(False) == 8
    seen = Seen()
    run_plan(replace(recipe, seed=1), tmp_path / "run", resume=True, progress=seen)
    assert not any(seen.kept)


def test_spoiled_files_are_made_again(recipe, tmp_path):
    first = run_plan(recipe, tmp_path / "run")
    cells = sorted((tmp_path / "run" / "cells").glob("fgsm-*-none-*.json"))
    for path in cells:
        path.write_text(path.read_text()[:50])
    (folder,) = (tmp_path / "run" / "adversaries").glob("fgsm*")
    spoiled = sorted(folder.glob("*.png"))[0]
    spoiled.write_bytes(sorted(folder.glob("*.png"))[1].read_bytes())
    seen = Seen()
    second = run_plan(recipe, tmp_path / "run", resume=True, progress=seen)
    assert seen.kept.count(False) == len(cells) == 2
    assert [c["value"] for c in second["cells"]] == [c["value"] for c in first["cells"]]
    (folder / "manifest.jsonl").write_text("{}\n")
    cells[0].unlink()
    third = run_plan(recipe, tmp_path / "run", resume=True)
    assert [c["value"] for c in third["cells"]] == [c["value"] for c in first["cells"]]


@pytest.mark.filterwarnings("ignore::nrpurify.core.errors.GradientWarning")  # JPEG has no gradient
def test_threats_are_told_apart(recipe, tmp_path, purifier_file):
    attack = PlannedAttack("pgd", eps=(EPS,), steps=2, step_size=0.3)
    recipe = replace(
        recipe,
        attacks=(
            replace(attack, threat="BPDA"),
            replace(attack, threat="full gradient"),
            replace(attack, threat="EOT", draws=2, bpda=True),
            PlannedAttack("square", eps=(EPS,), steps=5, threat="score-based"),
            replace(
                attack,
                threat="surrogate purifier + BPDA",
                surrogate=("c",),
                purifier=str(purifier_file),
            ),
        ),
        defenses=("jpeg:quality=75", "noise"),
        victims=("b",),
        rounding="float",
    )
    seen = Seen()
    run = run_plan(recipe, tmp_path / "run", progress=seen)
    jpeg = {c["threat"]: c for c in run["cells"] if c["defense"] == "jpeg:quality=75"}
    assert jpeg["BPDA"]["value"] == 0.0
    assert jpeg["full gradient"]["settings"]["zero"] == 1.0
    assert jpeg["full gradient"]["value"] > 0
    assert jpeg["EOT"]["value"] == 0.0
    assert jpeg["EOT"]["draws"] == 2
    assert jpeg["score-based"]["steps"] == 5
    assert jpeg["surrogate purifier + BPDA"]["settings"]["purifier"] == str(purifier_file)
    assert {"no gradient", "one draw"} <= set(seen.warnings)
    assert one(run, defense="noise", threat="BPDA")["settings"]["random"]
    assert [path.name[:3] for path in (tmp_path / "run" / "adversaries").iterdir()] == ["pgd"]


def test_several_passes_are_counted(recipe, tmp_path):
    recipe = replace(recipe, attacks=(), defenses=("noise:passes=3",), victims=("b",))
    run = run_plan(recipe, tmp_path / "run")
    assert one(run, defense="noise:passes=3")["draws"] == 3
    assert [len(strip["panels"]) for strip in run.strips] == [2, 2, 2]


def test_places_of_what_cannot_be_loaded(recipe, tmp_path):
    for changes, text in (
        ({"victims": ("b", "nobody")}, r"victims\.1: there is no classifier"),
        ({"defenses": ("jpg",)}, r"defenses\.0: no defense 'jpg'"),
        ({"attacks": (PlannedAttack("fgsm", surrogate=("none",)),)}, r"attacks\.0\.surrogate: "),
        ({"data": DataSpec("nowhere")}, r"data\.folder: 'nowhere' is not a folder"),
        ({"data": DataSpec()}, r"data\.folder: is missing"),
    ):
        with pytest.raises(InputError, match=text):
            run_plan(replace(recipe, **changes), tmp_path / "run")
    with pytest.raises(InputError, match="no labeled image was given"):
        run_plan(recipe, tmp_path / "run", items=[])
    assert not (tmp_path / "run").exists()


def test_all_that_is_wrong_comes_at_once(recipe, tmp_path):
    wrong = {"victims": ("b", "nobody"), "defenses": ("jpg", "median")}
    with pytest.raises(RecipeError) as caught:
        run_plan(replace(recipe, **wrong), tmp_path / "run")
    assert [place for place, _ in caught.value.problems] == [("victims", 1), ("defenses", 0)]
    wrong |= {
        "data": DataSpec("nowhere"),
        "attacks": (PlannedAttack("fgsm", surrogate=("none",), steps=2), PlannedAttack("nois")),
    }
    with pytest.raises(RecipeError) as caught:
        run_plan(replace(recipe, **wrong), tmp_path / "run")
    assert [place for place, _ in caught.value.problems] == [
        ("attacks", 0, "steps"),
        ("attacks", 1, "name"),
        ("data", "folder"),
        ("victims", 1),
        ("attacks", 0, "surrogate"),
        ("defenses", 0),
    ]
    values = {"victims": ["b", "nobody"], "defenses": ["jpg"], "seed": -1}
    with pytest.raises(RecipeError) as caught:  # also beside values of the wrong kind
        plan_from_dict({**values, "attacks": [{"name": "noise", "eps": 99}]})
    assert {place for place, _ in caught.value.problems} == {
        ("attacks", 0, "eps", 0),
        ("seed",),
        ("victims", 1),
        ("defenses", 0),
    }


def test_lines_are_named_while_loading(photos, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(f"images: {{folder: {photos}}}\nattacks: []\nvictims:\n  - b\n  - nobody\n")
    with pytest.raises(InputError, match=r"line 5, victims\.1: there is no classifier 'nobody'"):
        run_plan(path, tmp_path / "run")


def test_unreadable_images_are_left_out_and_named(recipe, photos, tmp_path):
    (photos / "0" / "photo00.png").write_bytes(b"no image")
    (photos / "1" / "gone.png").symlink_to("nowhere")
    run = run_plan(recipe, tmp_path / "run")
    assert run["images"]["n"] == 5
    gone, photo = run["images"]["broken"]
    assert "gone.png': a link to nothing" in gone
    assert "photo00.png" in photo
    assert [w["text"][:12] for w in run["warnings"] if w["kind"] == "images"] == ["2 left out: "]
    for path in photos.rglob("*.png"):
        path.unlink()
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="no image can be read"):
        run_plan(recipe, tmp_path / "other")


def test_labels_from_a_table_and_what_it_lacks(recipe, photos, tmp_path):
    table = tmp_path / "labels.csv"
    rows = [f"photo{c}{n},{c}" for c in range(3) for n in range(2)]
    table.write_text("\n".join(["image,label", *rows[1:], "lost,0"]) + "\n")
    images = replace(recipe.data, labels=str(table), limit=4)
    seen = Seen()
    run = run_plan(replace(recipe, data=images, attacks=()), tmp_path / "run", progress=seen)
    assert run["images"]["n"] == 4
    assert seen.warnings.count("images") == 2


@pytest.mark.parametrize(("form", "shift"), [("image,label", 1), ("ImageId,TrueLabel", 1)])
def test_labels_counted_from_elsewhere_are_found_out(recipe, photos, tmp_path, form, shift):
    table = tmp_path / "labels.csv"
    rows = [f"photo{c}{n},{c + shift}" for c in range(3) for n in range(2)]
    table.write_text("\n".join([form, *rows]) + "\n")
    recipe = replace(recipe, data=replace(recipe.data, labels=str(table)), attacks=())
    if form == "ImageId,TrueLabel":
        assert run_plan(recipe, tmp_path / "run")["cells"][0]["value"] == 1.0
        return
    expected = r"data\.labels: 0 of 12 .* each label one lower, 12 would be: the labels"
    with pytest.raises(InputError, match=expected):
        run_plan(recipe, tmp_path / "run")
    careless = replace(recipe, data=replace(recipe.data, check_labels=False))
    seen = Seen()
    run_plan(careless, tmp_path / "run", progress=seen)
    assert seen.warnings.count("at chance") == 2


def test_labels_beyond_the_classes(recipe, photos, tmp_path):
    items, _ = read_labeled_folder(photos)
    items[0] = items[0]._replace(label=1000)
    with pytest.raises(InputError, match=r"label 1000 \(counted from 0\); . has classes 0 to 999"):
        run_plan(recipe, tmp_path / "run", items=items)
    mixed = [item._replace(label=500) for item in items]
    with pytest.raises(InputError, match="are the labels those of the victims' classes"):
        run_plan(recipe, tmp_path / "run", items=mixed)


def test_bpda_needs_a_defense_that_keeps_the_size(recipe, tmp_path, monkeypatch):
    doubled = torch.nn.Upsample(scale_factor=2)
    monkeypatch.setattr("nrpurify.defenses.make", lambda spec, **_: doubled)
    bpda = PlannedAttack("pgd", threat="BPDA")
    with pytest.raises(InputError, match=r"defenses\.0: none changes the size"):
        run_plan(replace(recipe, attacks=(bpda,)), tmp_path / "run")


def test_an_attack_that_leaves_its_budget_is_caught(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(AttackRunner, "__call__", lambda _, images, *__: 1 - images)
    with pytest.raises(AssertionError, match="left its box"):
        run_plan(recipe, tmp_path / "run")


KILLED_AT_ITS_FIFTH_CELL = """
import os, signal, sys
import torch
from nrpurify import models
from nrpurify.evaluation import EvaluationProgress, read_plan
from nrpurify.evaluation import run as run_plan

class Colors(torch.nn.Module):
    def forward(self, images):
        scores = images.mean((2, 3))
        return torch.cat([scores, scores.new_full((len(scores), 997), -1.0)], 1)

class Killer(EvaluationProgress):
    def finished(self, cell, done, total, *, kept):
        if done == 5:
            os.kill(os.getpid(), signal.SIGKILL)

models.load_classifier = lambda name: models.as_classifier(Colors(), 1000, name=name)
run_plan(read_plan(sys.argv[1])[0], sys.argv[2], progress=Killer())
"""


def test_a_killed_run_goes_on_where_it_was(recipe, tmp_path):
    from nrpurify.core.config import to_yaml

    path, out = tmp_path / "r.yaml", tmp_path / "run"
    path.write_text(to_yaml(recipe.to_dict()))
    command = [sys.executable, "-c", KILLED_AT_ITS_FIFTH_CELL, str(path), str(out)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    assert len(list(out.glob("cells/*.json"))) == 5
    seen = Seen()
    resumed = run_plan(recipe, out, resume=True, progress=seen)
    # a unit has two cells; the third, which was cut between them, is measured again as a whole
    assert seen.kept.count(True) == 4
    assert seen.kept.count(False) > 0
    straight = run_plan(recipe, tmp_path / "other")
    timing = {"seconds", "peak_memory_mb", "settings"}
    for left, right in zip(resumed["cells"], straight["cells"], strict=True):
        assert {k: v for k, v in left.items() if k not in timing} == {
            k: v for k, v in right.items() if k not in timing
        }


def test_items_take_the_place_of_a_folder(recipe, photos, tmp_path):
    items, _ = read_labeled_folder(photos)
    recipe = replace(recipe, data=DataSpec(size=32), attacks=())
    run = run_plan(recipe, tmp_path / "run", items=items[2:4])
    assert run["images"]["n"] == 2
    assert run["images"]["folder"] == "1"
    assert load_batch([items[2].path], 32, crop=True).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (
            [(torch.rand(3, 32, 32), 3)],
            r"items\[0\] is a tuple; expected LabeledImages .* or Samples",
        ),
        ([LabeledImage("a.png", 3)], r"items\[0\] has the path 'a.png', a str; expected a Path"),
        ("photos", r"items\[0\] is a str; expected LabeledImages"),
        (3, "items is a int; expected LabeledImages"),
    ],
)
def test_items_of_another_kind_are_named(recipe, items, said):
    with pytest.raises(InputError, match=said):
        run_plan(recipe, items=items)


def test_samples_of_the_user(recipe, photos):
    found, _ = read_labeled_folder(photos)
    paths, labels = [item.path for item in found], [item.label for item in found]

    def read(index):
        return load_batch([paths[index]], 32, crop=True)[0], labels[index]

    recipe = replace(recipe, attacks=(), data=DataSpec())
    samples = Samples(paths, read, {"labels": labels}, size=32)
    assert one(run_plan(recipe, items=samples), defense="none", victim="a")["value"] == 1.0
    for identity in ({}, {"labels": labels[1:]}):
        with pytest.raises(InputError, match=r"identity .*'labels'.* the class of each of the 6"):
            run_plan(recipe, items=Samples(paths, read, identity, size=32))


def test_models_are_given_by_name(recipe):
    with pytest.raises(InputError, match=r"models is a Function; expected .*\{'mine': model\}"):
        run_plan(recipe, models=Function(torch.ones_like))


def test_a_protected_victim_is_named(recipe):
    victims = {"mine": protect(Function(colors), "median")}
    recipe = replace(recipe, victims=("mine", "b"), attacks=())
    run = run_plan(recipe, models=victims)
    (said,) = [w["text"] for w in run.warnings if "protected already" in w["text"]]
    assert "mine is protected already, so median is a second defense in front of it" in said
    run = run_plan(replace(recipe, defenses=("none",)), models=victims)
    assert not any("protected already" in warning["text"] for warning in run.warnings)


def colors(images):
    scores = images.mean((2, 3))
    return torch.cat([scores, scores.new_full((len(scores), 997), -1.0)], 1)


@pytest.mark.parametrize(
    ("defense", "said"),
    [
        (lambda images: images * torch.nan, "images behind the defense 'median' hold NaN"),
        (lambda images: images, "logits of colors behind the defense 'median' hold NaN"),
    ],
)
def test_a_cell_of_nan_ends_the_run_and_names_defense_and_image(defense, said):
    class Lost(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)).log() * torch.nan

    images, names = torch.rand(2, 3, 4, 4), ["a.png", "b.png"]
    with pytest.raises(InputError, match=rf"{said} .* for a\.png and 1 more"):
        predictions(
            Classify(), Function(defense), {"colors": Lost()}, images, names, False, "median"
        )
