import pytest
import torch

from nrpurify.core.errors import InputError
from nrpurify.core.images import read_image, write_png
from nrpurify.data.yolo import read_yolo
from nrpurify.defenses import make
from nrpurify.tasks.detection import DetectionPlan, SceneAttack, evaluate_detection, ssp_attack

pytest.importorskip("faster_coco_eval")
QUICK = {"resamples": 5}


@pytest.fixture
def scenes(tmp_path):
    """Three dark pictures of different sizes with a bright rectangle, and one without."""
    (tmp_path / "labels").mkdir()
    for k, (height, width) in enumerate(((20, 40), (30, 30), (40, 24), (16, 16))):
        image = torch.full((3, height, width), 0.2)
        if k < 3:
            image[:, 5:15, 4:12] = 0.8
        write_png(tmp_path / "images" / f"{k}.png", image)
        corners = [(4, 5), (12, 5), (12, 15), (4, 15)]
        shares = " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in corners)
        (tmp_path / "labels" / f"{k}.txt").write_text(f"0 {shares}\n" if k < 3 else "")
    return read_yolo(tmp_path / "labels", tmp_path / "images")


def bright_boxes(images):
    """A detector of whatever is brighter than 0.5."""
    answers = []
    for image in images:
        bright = image.mean(0) > 0.5
        rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
        boxes, masks = torch.zeros(0, 4), torch.zeros(0, 1, *bright.shape)
        if len(rows):
            sides = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            boxes, masks = torch.stack(sides)[None].float(), bright[None, None].float()
        ones = torch.ones(len(boxes))
        answers.append({"boxes": boxes, "scores": ones, "labels": ones.long(), "masks": masks})
    return answers


def darken(image, generator):
    return (image - 0.4).clamp(min=0)


def values(cells, metric="mAP50"):
    return {(c["attack"], c["defense"]): c["value"] for c in cells if c["metric"] == metric}


@pytest.mark.parametrize("task", ["detect", "instances"])
def test_attack_takes_and_defense_gives_back(scenes, task):
    seen = []
    cells = evaluate_detection(
        bright_boxes,
        scenes,
        {"brighten": lambda images: (images + 0.4).clamp(max=1)},
        [SceneAttack("darken", 0.4, darken, steps=1)],
        victim="bright",
        plan=DetectionPlan(task=task, **QUICK),
        watch=lambda *args: seen.append(args),
    )
    assert len(cells) == 8
    found = values(cells)
    assert found["clean", "none"] == pytest.approx(1)
    assert found["darken", "none"] == 0
    assert found["darken", "brighten"] > 0.9
    assert seen[-1] == ("darken", 4, 4)
    cell = next(c for c in cells if c["attack"] == "darken" and c["defense"] == "brighten")
    assert cell["task"] == task
    assert cell["id"].startswith("darken-102-brighten-bright-mAP50-")
    assert len({c["id"] for c in cells}) == 8
    assert (cell["n"], cell["eps"], cell["steps"]) == (4, 0.4, 1)
    assert cell["seconds"] > 0
    low, high = cell["interval"]
    assert low <= cell["value"] <= high
    assert any("image without objects: 3.png" in note for note in cell["notes"])


def test_boxes_follow_scaled_images(scenes):
    plan = DetectionPlan(longest=20, **QUICK)
    cells = evaluate_detection(bright_boxes, scenes, {}, victim="bright", plan=plan)
    assert values(cells)["clean", "none"] == pytest.approx(1)


def test_rounding_and_seeds(scenes):
    def noise(image, generator):
        shift = 0.05 * torch.rand(image.shape, generator=generator)
        return (image + shift).clamp(max=1)

    def run(**options):
        seen = []

        def look(images):
            seen.extend(images)
            return bright_boxes(images)

        plan = DetectionPlan(**QUICK, **options)
        evaluate_detection(
            look, scenes, {}, [SceneAttack("noise", 0.05, noise)], victim="x", plan=plan
        )
        return seen[4]

    assert torch.equal(run(), run())
    assert not torch.equal(run(), run(seed=9))
    on_grid = run() * 255
    torch.testing.assert_close(on_grid, on_grid.round())
    off_grid = run(rounding="float") * 255
    assert (off_grid - off_grid.round()).abs().max() > 0.1


def test_an_attack_beyond_its_budget_is_refused(scenes):
    attack = SceneAttack("darken", 0.1, darken)
    with pytest.raises(AssertionError, match="left its box"):
        evaluate_detection(bright_boxes, scenes, {}, [attack], victim="x")


def test_ssp_needs_no_labels(scenes, extractor):
    attack = ssp_attack(extractor, eps=8 / 255, steps=2, surrogate="tiny", distance="mse")
    assert (attack.name, attack.steps, attack.settings) == ("ssp", 2, {"distance": "mse"})
    image = read_image(scenes.items[0].path).rgb[None]
    attacked = attack.run(image, torch.Generator().manual_seed(0))
    assert 0 < float((attacked - image).abs().max()) <= 8 / 255 + 1e-6


@pytest.mark.parametrize("wrong", [{"task": "x"}, {"rounding": "x"}, {"longest": 0}])
def test_plans_that_cannot_be_used(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        DetectionPlan(**wrong)


def test_instances_without_outlines(tmp_path, scenes):
    (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    mixed = read_yolo(tmp_path / "labels", tmp_path / "images")
    plan = DetectionPlan(task="instances", **QUICK)
    cell = evaluate_detection(bright_boxes, mixed, {}, victim="x", plan=plan)[0]
    assert cell["n"] == 3
    assert any("no outlines: 1.png" in note for note in cell["notes"])
    mixed.items = [mixed.items[1]]
    with pytest.raises(InputError, match="no image to evaluate"):
        evaluate_detection(bright_boxes, mixed, {}, victim="x", plan=plan)


def test_a_random_defense_draws_the_same_under_every_attack(scenes):
    def run(names):
        seen = []

        def look(images):
            seen.extend(images)
            return bright_boxes(images)

        attacks = [SceneAttack(name, 0.4, darken) for name in names]
        defenses = {"noise": make("noise:std=0.2")}
        plan = DetectionPlan(**QUICK)
        evaluate_detection(look, scenes, defenses, attacks, victim="x", plan=plan)
        return seen[-8:]

    pairs = zip(run(["darken"]), run(["other", "darken"]), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_several_passes_are_refused(scenes):
    defenses = {"noise:passes=5": make("noise:passes=5")}
    with pytest.raises(InputError, match="noise:passes=5 asks for 5 passes"):
        evaluate_detection(bright_boxes, scenes, defenses, victim="x")


def test_no_object_at_all_is_told_before_anything_is_measured(scenes):
    scenes.items = [scene for scene in scenes.items if not len(scene.labels)]
    with pytest.raises(InputError, match=r"none of the 1 images has an object; .*: 3\.png"):
        evaluate_detection(lambda images: pytest.fail("too late"), scenes, {}, victim="x")


def test_defended_images_of_nan_end_the_work(scenes):
    with pytest.raises(InputError, match=r"images behind the defense 'lost' hold NaN .* for "):
        evaluate_detection(bright_boxes, scenes, {"lost": lambda x: x * torch.nan}, victim="v")
