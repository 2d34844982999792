import json
from dataclasses import replace

import pytest
import torch

from nrpurify.core.errors import InputError
from nrpurify.core.image_tensors import save_image_tensor
from nrpurify.core.images import load_batch, write_png
from nrpurify.data.labels import read_labeled_folder
from nrpurify.evaluation import prepare
from nrpurify.evaluation.aliases import Plan, evaluate_folder, evaluate_images
from nrpurify.evaluation.batches import Batch
from nrpurify.evaluation.cache import look_up
from nrpurify.evaluation.label_check import label_doubt
from nrpurify.evaluation.networks import attack_spec
from nrpurify.models import load_classifier

REAL = load_classifier
pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def plan(purifier_file):
    return Plan(victims=("a", "b"), steps=2, purifier=purifier_file, size=32, batch=4)


def shown(items, plan):
    """The clean and the attacked images of a plan."""
    converted, models = replace(plan, victims=("a",)).convert()
    converted = replace(converted, gallery=len(items))
    with prepare(converted, items=items, models=models) as evaluation:
        evaluation.run()
        strips = evaluation.pictures()
    return [torch.stack([strip.panels[key].image for strip in strips]) for key in (0, 1)]


def test_folder_of_classes(photos, plan):
    outcome = evaluate_folder(photos, plan)
    assert outcome.result["n"] == 6
    assert outcome.notes == []
    assert outcome.result["victims"]["a"]["clean"] == 1.0
    assert outcome.result["mean"].keys() == outcome.result["victims"]["b"].keys()


def test_settings_tell_how_it_was_made(photos, plan):
    settings = evaluate_folder(photos, plan).result["settings"]
    assert settings["steps"] == 2
    assert settings["seed"] == 0
    assert len(settings["purifier_sha256"]) == 64
    assert {"torch", "nrpurify"} <= settings.keys()
    json.dumps(settings)


@pytest.mark.parametrize(
    ("attack", "settings", "steps"),
    [("noise", {}, None), ("fgsm", {"surrogate": "c"}, 1), ("mi-fgsm", {"surrogate": "a,c"}, 10)],
)
def test_attacks_without_steps_or_with_their_own(photos, plan, attack, settings, steps):
    own = replace(plan, attack=attack, steps=None, preset="paper", **settings)
    found = evaluate_folder(photos, own).result["settings"]
    assert found["steps"] == steps
    assert (found["surrogate"], found["layer"]) == (settings.get("surrogate"), None)


def test_ssp_has_the_steps_of_its_preset_unless_others_are_given(plan):
    spec = attack_spec(replace(plan, steps=None).convert()[0].attacks[0])
    assert spec.described(spec.load())["steps"] == 100
    assert spec.networks == ("vgg16",)
    assert spec.described(spec.load())["layers"] == ["conv3_3"]


def test_every_network_has_its_hash(photos, plan):
    own = replace(plan, attack="fgsm", steps=None, surrogate="c", preset="paper")
    hashes = evaluate_folder(photos, own).result["settings"]["weights_sha256"]
    assert hashes.keys() == {"a", "b", "c", str(plan.purifier)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attack": "fgsm"}, "fgsm works on a classifier; name one"),
        (
            {"attack": "noise", "surrogate": "vgg16"},
            "surrogate was given; noise has",
        ),
        (
            {"attack": "fgsm", "surrogate": "c", "layer": "x"},
            "layer was given; fgsm has no",
        ),
        ({"attack": "tap", "surrogate": "c", "layer": "nonsense"}, "nonsense"),
        ({"attack": "ssp", "surrogate": "vgg16,alexnet"}, "ssp works on one network"),
        ({"attack": "fgsm", "surrogate": "c", "steps": 3}, "fgsm has no setting 'steps'"),
    ],
)
def test_settings_that_the_attack_does_not_have_are_refused(photos, plan, settings, message):
    with pytest.raises(InputError, match=message):
        evaluate_folder(photos, replace(plan, **{"steps": None, **settings}))


def test_same_seed_same_result(photos, plan):
    first, second = (evaluate_folder(photos, plan).result for _ in range(2))
    assert first == second


def test_limit_and_progress(photos, plan):
    seen = []
    outcome = evaluate_folder(photos, plan, limit=5, watch=lambda *done: seen.append(done))
    assert outcome.result["n"] == 5
    assert seen == [(done, 8) for done in range(1, 9)]


def test_csv_with_gaps_and_a_broken_image(photos, plan, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(photos.rglob("*.png")):
        (flat / path.name).write_bytes(path.read_bytes())
    (flat / "photo10.png").write_bytes(b"not an image")
    rows = [f"photo{c}{n},{c}" for c in range(3) for n in range(2)]
    csv = tmp_path / "labels.csv"
    csv.write_text("\n".join(["image,label", *rows[1:], "lost,0"]) + "\n")
    (flat / "photo21.jpg").symlink_to("nowhere")
    outcome = evaluate_folder(flat, plan, labels=csv)
    assert outcome.result["n"] == 4
    assert "photo21.jpg': a link to nothing" in outcome.broken[0]
    text = " ".join(outcome.notes)
    assert "lost" in text
    assert "photo00" in text
    assert "photo10.png" in outcome.broken[1]


def test_labels_off_by_one_are_noticed_first(photos, plan):
    for index in (2, 1, 0):
        (photos / str(index)).rename(photos / str(index + 1))
    with pytest.raises(
        InputError, match=r"0 of 12 answers .* one lower, 12 would be: .*--no-check"
    ):
        evaluate_folder(photos, plan)
    outcome = evaluate_folder(photos, replace(plan, check_labels=False))
    assert outcome.result["mean"]["clean"] == 0


def test_images_that_are_all_broken_are_no_result(photos, plan):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"no image can be read, mend them: .*\.png"):
        evaluate_folder(photos, plan)


def test_one_lucky_answer_does_not_make_labels_right():
    labels = torch.arange(32)
    guesses = labels - 1
    guesses[7] = 7
    assert "1 of 32 answers" in label_doubt(guesses, labels, 1000)
    doubt = (
        "one lower, 31 would be: the labels count from 1 and were read as if they counted from 0"
    )
    assert doubt in label_doubt(guesses, labels, 1000)
    assert label_doubt(labels, labels, 1000) is None
    guesses[:8] = labels[:8]
    assert label_doubt(guesses, labels, 1000) is None


def test_uint8_rounds_the_attack(photos, plan):
    scaled = shown(read_labeled_folder(photos)[0], plan)[1] * 255
    assert (scaled - scaled.round()).abs().max() < 1e-4


def test_nothing_to_do(plan):
    with pytest.raises(InputError, match="no labeled image"):
        evaluate_images([], plan)


def test_images_attacked_before(photos, plan, tmp_path):
    square = tmp_path / "square"
    attacked = tmp_path / "attacked"
    for path in sorted(photos.rglob("*.png")):
        clean = load_batch([path], 32, crop=True)[0]
        write_png(square / path.parent.name / path.name, clean)
        write_png(attacked / path.name, (clean + 8 / 255).clamp(0, 1))
    items, _ = read_labeled_folder(square)
    clean, changed = shown(items, replace(plan, attacked=attacked))
    assert float((changed - clean).max()) == pytest.approx(8 / 255, abs=1e-6)
    near = evaluate_images(items, replace(plan, attacked=attacked, eps=7.6 / 255)).result[
        "settings"
    ]
    assert (near["attack"], near["surrogate"], near["steps"]) == ("made before", None, None)
    with pytest.raises(InputError, match=r"changes photo00\.png by 8/255; expected .* eps 4/255"):
        evaluate_images(items, replace(plan, attacked=attacked, eps=4 / 255))
    with pytest.raises(InputError, match=r"size \(32, 32\); expected \(16, 16\)"):
        evaluate_images(items, replace(plan, attacked=attacked, size=16))
    data = (attacked / "photo01.png").read_bytes()
    (attacked / "photo01.png").write_bytes(data[:-30])
    outcome = evaluate_images(items, replace(plan, attacked=attacked))
    assert outcome.result["n"] == len(items) - 1
    assert "photo01.png" in outcome.broken[0]
    (attacked / "photo00.png").unlink()
    with pytest.raises(InputError, match=r"no attacked image for photo00\.png"):
        evaluate_images(items, replace(plan, attacked=attacked))


def test_other_attacks_go_by_name(photos, plan):
    linear = replace(plan, attack="fgsm", surrogate="c", steps=None, eps=0.5, size=32)
    assert evaluate_folder(photos, linear).result["mean"]["attacked"] == 0.0
    assert evaluate_folder(photos, linear).result["settings"]["attack"] == "fgsm"
    with pytest.raises(InputError, match="fgsm has no setting 'steps'; there is none"):
        evaluate_folder(photos, replace(linear, steps=3))


def test_unrounded_values_are_taken_and_doubtful_names_are_not(tmp_path):
    batch = Batch(torch.zeros(1, 3, 4, 4), torch.zeros(1, dtype=torch.int64), ["a.jpg"])
    write_png(tmp_path / "x" / "a.png", torch.full((3, 4, 4), 0.5))
    assert look_up(tmp_path)(batch).max() == pytest.approx(128 / 255)
    save_image_tensor(tmp_path / "x" / "a.safetensors", torch.full((3, 4, 4), 0.5))
    assert look_up(tmp_path)(batch).max() == 0.5
    write_png(tmp_path / "y" / "a.png", torch.full((3, 4, 4), 0.5))
    with pytest.raises(InputError, match=r"x/a\.png and y/a\.png in .* could both be a\.jpg"):
        look_up(tmp_path)(batch)


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for value, name in enumerate(("243/1.png", "559/1.png", "559/1.jpg.png"), 1):
        write_png(tmp_path / name, torch.full((3, 4, 4), value / 255))
    names = ["/photos/243/1.jpg", "/photos/559/1.png", "/photos/559/1.jpg"]
    batch = Batch(torch.zeros(3, 3, 4, 4), torch.zeros(3, dtype=torch.int64), names)
    found = look_up(tmp_path)(batch)
    assert (255 * found.amax((1, 2, 3))).tolist() == pytest.approx([1, 2, 3])


def test_images_made_before_are_rounded_too_when_asked(photos, plan, tmp_path):
    made = tmp_path / "made"
    items, _ = read_labeled_folder(photos)
    for item in items:
        clean = load_batch([item.path], 32, crop=True)[0]
        write_png(made / f"{item.path.stem}.png", clean)
        save_image_tensor(made / f"{item.path.stem}.safetensors", clean + 0.001 * (clean < 0.5))
    values = 255 * shown(items, replace(plan, attacked=made, uint8=True))[1]
    assert (values - values.round()).abs().max() < 1e-4


def own_model(images):
    scores = images.mean((2, 3))
    return torch.cat([scores, scores.new_full((len(scores), 2), -1.0)], 1)


def test_any_function_is_a_victim(photos, plan, monkeypatch):
    monkeypatch.setattr("nrpurify.models.load_classifier", REAL)
    plan = replace(plan, victims=[own_model, own_model], attack="noise", steps=None)
    found = evaluate_folder(photos, plan)
    assert found.result["victims"].keys() == {"own_model", "own_model 2"}
    assert found.result["settings"]["victims"] == ["own_model", "own_model 2"]


@pytest.mark.parametrize("check", [True, False])
def test_fewer_logits_than_labels_need_is_one_line(photos, plan, monkeypatch, check):
    monkeypatch.setattr("nrpurify.models.load_classifier", REAL)
    plan = replace(plan, victims=[lambda x: x.mean((2, 3))[:, :2]], check_labels=check)
    with pytest.raises(InputError, match=r"label 2 .*<lambda> has classes 0 to 1"):
        evaluate_folder(photos, plan)
