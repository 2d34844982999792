import json

import pytest
import torch

from nrpurify.cli import main
from nrpurify.core.errors import InputError
from nrpurify.core.images import read_image, write_png
from nrpurify.evaluation.harness import Batch
from nrpurify.tasks.attackers import made_before, prepare_attacks
from nrpurify.tasks.plan import TaskPlan
from nrpurify.tasks.strips import strongest
from nrpurify.tasks.victims import table_of


def plan(tmp_path, **changes):
    return TaskPlan("segment", tmp_path, masks=tmp_path, attacks=("noise",), **changes)


def batch(name="sub/a.png", side=12):
    image = torch.randint(0, 256, (1, 3, side, side), generator=torch.Generator().manual_seed(0))
    return Batch(image / 255, torch.zeros(1, dtype=torch.int64), [name])


def test_attacked_images_are_kept_and_made_anew_when_the_source_changes(tmp_path):
    (attack,) = prepare_attacks(plan(tmp_path), tmp_path)
    first = attack.images(batch())
    file = tmp_path / "noise-16" / "sub" / "a.png"
    stamp = file.stat().st_mtime_ns
    (again,) = prepare_attacks(plan(tmp_path), tmp_path)
    assert torch.equal(again.images(batch()), first)
    assert file.stat().st_mtime_ns == stamp
    other = batch()._replace(images=batch().images.flip(-1))
    assert not torch.equal(again.images(other), first)
    assert file.stat().st_mtime_ns != stamp
    (seeded,) = prepare_attacks(plan(tmp_path, seed=1), tmp_path)
    assert not torch.equal(seeded.images(batch()), first)


def test_names_that_repeat_in_sub_folders_are_kept_apart(tmp_path):
    both = [batch("sub/a.png"), batch("other/a.png")._replace(images=1 - batch().images)]
    (attack,) = prepare_attacks(plan(tmp_path), tmp_path)
    made = [attack.images(one) for one in both]
    files = sorted((tmp_path / "noise-16").rglob("*.png"))
    stamps = [file.stat().st_mtime_ns for file in files]
    (again,) = prepare_attacks(plan(tmp_path), tmp_path)
    assert all(torch.equal(again.images(one), old) for one, old in zip(both, made, strict=True))
    assert [file.stat().st_mtime_ns for file in files] == stamps
    assert len(files) == 2


@pytest.mark.parametrize("eps", [1 / 255, 8 / 255, 0.05])
def test_rounded_images_stay_in_the_budget(tmp_path, eps):
    (attack,) = prepare_attacks(plan(tmp_path, eps=(eps,)), tmp_path)
    clean = batch()
    attacked = attack.images(clean)
    assert 0 < float((attacked - clean.images).abs().max()) <= eps + 1e-6
    torch.testing.assert_close(attacked * 255, (attacked * 255).round())


def test_the_same_noise_as_the_command_attack(tmp_path):
    pytest.importorskip("typer")
    clean = batch("a.png")
    write_png(tmp_path / "in" / "a.png", clean.images[0])
    (attack,) = prepare_attacks(plan(tmp_path), tmp_path / "run")
    made = tmp_path / "made"
    assert main(["attack", str(tmp_path / "in"), str(made), "--name", "noise"]) == 0
    assert torch.equal(attack.images(clean)[0], read_image(made / "a.png").rgb)
    before = made_before(made)
    assert torch.equal(before.images(clean)[0], read_image(made / "a.png").rgb)
    assert (before.attack, before.rounding) == ("noise", "uint8")
    run_again = made_before(tmp_path / "run" / "noise-16")
    assert torch.equal(run_again.images(clean)[0], read_image(made / "a.png").rgb)


def test_manifests_that_say_too_little(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"settings": {"eps": 0.1}, "files": {}}))
    with pytest.raises(InputError, match="has no manifest of one attack"):
        made_before(tmp_path)


def test_each_attack_at_each_eps_once(tmp_path):
    chosen = TaskPlan(
        "detect",
        tmp_path,
        annotations=tmp_path,
        attacks=("noise", "none", "fff", "noise"),
        eps=(8 / 255, 16 / 255),
    )
    found = prepare_attacks(chosen, tmp_path)
    kinds = [(attack.attack, round(255 * attack.eps)) for attack in found]
    assert kinds == [(name, eps) for name in ("noise", "fff") for eps in (8, 16)]
    assert strongest(found) is found[1]
    assert strongest([]) is None
    assert "trained_sha256" in found[2].settings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"task": "draw"}, "task is 'draw'"),
        ({"masks": None}, "segment needs masks"),
        ({"annotations": "x"}, "annotations does not belong to segment; it takes masks"),
        ({"longest": 9}, "longest does not belong to segment"),
        ({"limit": 0}, "limit is 0"),
        ({"eps": (0.0,)}, "eps is 0"),
    ],
)
def test_plans_that_cannot_be_used(tmp_path, wrong, said):
    given = {"task": "segment", "images": tmp_path, "masks": tmp_path, **wrong}
    with pytest.raises(InputError, match=said):
        TaskPlan(**given)


def test_defaults(tmp_path):
    chosen = plan(tmp_path, defenses=("fast", "none", "fast"))
    assert chosen.specs == ("none", "fast")
    assert chosen.model == "segnet-basic-camvid"
    assert plan(tmp_path, victim="runs/mine.safetensors").model_name == "mine.safetensors"


def test_masks_of_other_classes_have_255_for_void():
    from nrpurify.data.masks import CAMVID
    from nrpurify.models.segmenters import CAMVID_CLASSES, as_segmenter

    assert table_of(as_segmenter(torch.nn.Identity(), CAMVID_CLASSES)) is CAMVID
    other = table_of(as_segmenter(torch.nn.Identity(), ("a", "b")))
    assert (other.names, other.void) == (("a", "b"), (255,))


def test_images_made_before_are_known_by_their_content(tmp_path):
    write_png(tmp_path / "a.png", batch().images[0])
    said = {"settings": {"attack": "noise", "eps": 0.1}, "versions": {}, "weights_sha256": {}}
    said["files"] = {}
    (tmp_path / "manifest.json").write_text(json.dumps(said))
    first = made_before(tmp_path).settings
    assert made_before(tmp_path).settings == first
    write_png(tmp_path / "a.png", 1 - batch().images[0])
    assert made_before(tmp_path).settings != first


@pytest.mark.parametrize("nested", [True, False])
def test_manifests_of_version_0_1_0_are_read(tmp_path, nested):
    """A grid kept its settings inside the head; a task had them side by side with it."""
    write_png(tmp_path / "a.png", batch().images[0])
    own = {"settings": {"name": "noise", "eps": 0.1}} if nested else {"attack": "noise", "eps": 0.1}
    head = {**own, "weights_sha256": {"vgg16": "12"}}
    old = {"head": head, "seconds": 1.0, "files": {"a.png": {"linf": 0.102, "sha256": "0"}}}
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    found = made_before(tmp_path)
    assert (found.attack, found.eps) == ("noise", 0.102)
    assert found.settings["weights_sha256"] == {"vgg16": "12"}
    assert found.images(batch("a.png")).shape == (1, 3, 12, 12)
