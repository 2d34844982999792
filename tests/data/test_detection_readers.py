import json
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify.core.errors import ImageError, InputError, MissingExtraError
from nrpurify.core.images import read_image, write_png
from nrpurify.data.annotations import read_annotations
from nrpurify.data.coco import read_coco
from nrpurify.data.detection import upright_size
from nrpurify.data.masks_rle import draw_outlines, read_outline
from nrpurify.data.yolo import read_yolo, read_yolo_names
from nrpurify.evaluation.detection import usable


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "images"
    for name, size in {"a": (20, 40), "b": (30, 30), "empty": (10, 10)}.items():
        write_png(folder / f"{name}.png", torch.rand(3, *size))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


NUMBERS = count()


def annotation(image, box, category=1, **more):
    own = f"{image}{box} {next(NUMBERS)}"
    return {"id": own, "image_id": image, "category_id": category, "bbox": box, **more}


def write_coco(path, annotations, **changes):
    images = [{"id": k, "file_name": f"{k}.png"} for k in ("a", "b", "empty", "broken", "gone")]
    categories = [
        {"id": 1, "name": "person"},
        {"id": 2, "name": "unicorn"},
        {"id": 3, "name": "cat"},
    ]
    data = {"images": images, "categories": categories, "annotations": annotations} | changes
    path.write_text(json.dumps(data))
    return path


def test_coco_counts_and_names_whatever_cannot_be_used(tmp_path, photos):
    file = write_coco(
        tmp_path / "instances.json",
        [
            annotation("a", [1, 2, 10, 10], segmentation=[[1, 2, 11, 2, 11, 12, 1, 12]]),
            annotation("a", [30, 10, 20, 5], 3),
            annotation("a", [50, 2, 10, 10]),
            annotation("a", [1, 2, 0, 10]),
            annotation("b", [1, 2, 3, 4], 2),
            annotation("b", [1, 2, 3, 4], 9),
            annotation("b", [1, 2, "x", 4]),
            annotation("b", [1, 2, 3, 4], segmentation="b035000f0"),
            annotation("b", [1, 2, 3, 4], segmentation={"size": [9, 9], "counts": [81]}),
            annotation("b", [0, 0, 30, 30], iscrowd=1),
            annotation("gone", [1, 2, 3, 4]),
            annotation("nowhere", [1, 2, 3, 4]),
        ],
    )
    scenes = read_coco(file, photos)
    assert [scene.path.name for scene in scenes.items] == ["a.png", "b.png", "empty.png"]
    a, b, empty = scenes.items
    assert a.boxes.tolist() == [[1, 2, 11, 12], [30, 10, 40, 15]]
    assert a.labels.tolist() == [1, 17]  # the detector's labels, not the file's
    assert b.crowd.tolist() == [False, False, True]  # a bad outline costs no box
    assert empty.boxes.shape == (0, 4)
    assert a.outlines is None  # not every object has one
    counted = {kind: len(cases) for kind, cases in scenes.problems.found.items()}
    assert counted == {
        "missing image": 1,
        "broken image": 1,
        "box cut to the image": 1,
        "object left out, its box is empty or outside the image": 2,
        "object left out, its class is unknown": 2,
        "object left out, its box is not four numbers": 1,
        "outline left out, it cannot be drawn": 2,
        "object left out with its image": 1,
        "annotation of an unlisted image": 1,
        "image without objects": 1,
    }
    text = "\n".join(scenes.problems.lines())
    for name in ("gone.png", "broken.png", "unicorn", "category 9", "empty.png", "nowhere"):
        assert name in text
    assert scenes.problems.count("missing image") == 1


def test_problem_lines_are_short(tmp_path, photos):
    file = write_coco(tmp_path / "x.json", [annotation("a", [99, 1, 1, k]) for k in range(5)])
    lines = read_coco(file, photos).problems.lines()
    line = next(line for line in lines if "outside" in line)
    assert line.startswith("5 × ")
    assert line.endswith("; and 2 more")


def test_images_outside_the_folder_are_not_read(tmp_path, photos):
    write_png(tmp_path / "secret.png", torch.rand(3, 8, 8))
    images = [{"id": 1, "file_name": "../secret.png"}, {"id": 2, "file_name": "a.png"}]
    scenes = read_coco(write_coco(tmp_path / "x.json", [], images=images), photos)
    assert [scene.path.name for scene in scenes.items] == ["a.png"]
    assert scenes.problems.count("image outside the folder, not read") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "as JSON"),
        ("[]", "no list 'images'"),
        ('{"images": [{"id": 1}]}', r"images\[0\] has no 'file_name'"),
        ('{"images": [], "categories": [], "annotations": []}', "none of the 0 images"),
    ],
)
def test_no_coco_file(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_coco(tmp_path / "x.json", tmp_path)


def test_images_with_one_id_are_not_dropped_unsaid(tmp_path, photos):
    images = [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
    scenes = read_coco(write_coco(tmp_path / "x.json", [], images=images), photos)
    assert [scene.path.name for scene in scenes.items] == ["a.png"]
    assert "its id came before: b.png (id 1)" in "\n".join(scenes.problems.lines())


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ({"width": 80, "height": 40}, "declared 80 × 40"),
        ({"width": 20, "height": 40}, "declared 20 × 40"),
        ({"width": 41}, "declared 41 × ?"),
        ({"height": "20"}, "declared ? × '20'"),
        ({"width": 40, "height": 20}, None),
        ({"width": None, "height": 20.0}, None),
    ],
)
def test_images_of_another_size_than_declared(tmp_path, photos, size, told):
    images = [{"id": "a", "file_name": "a.png", **size}, {"id": "b", "file_name": "b.png"}]
    file = write_coco(tmp_path / "x.json", [annotation("a", [1, 2, 10, 10])], images=images)
    scenes = read_coco(file, photos)
    assert [scene.name for scene in scenes.items] == ["b.png"] if told else ["a.png", "b.png"]
    lines = "\n".join(scenes.problems.lines())
    assert (f"a.png ({told}, upright it has 40 × 20 pixels)" in lines) == bool(told)
    assert scenes.problems.count("object left out with its image") == int(bool(told))


@pytest.mark.parametrize(("width", "kept"), [(20, True), (30, False)])
def test_an_image_on_its_side_must_declare_its_upright_size(tmp_path, photos, width, kept):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(photos / "side.jpg", exif=exif)
    size = {"width": width, "height": 50 - width}
    images = [{"id": 1, "file_name": "side.jpg", **size}, {"id": 2, "file_name": "a.png"}]
    scenes = read_coco(write_coco(tmp_path / "x.json", [], images=images), photos)
    assert [scene.name for scene in scenes.items] == ["side.jpg", "a.png"][not kept :]


def test_no_image_of_the_declared_size(tmp_path, photos):
    images = [{"id": 1, "file_name": "a.png", "width": 400, "height": 200}]
    with pytest.raises(InputError, match="can be used; 1 × image left out, its size is not"):
        read_coco(write_coco(tmp_path / "x.json", [], images=images), photos)


def test_one_category_id_for_two_names(tmp_path, photos):
    categories = [{"id": 1, "name": "person"}, {"id": 1, "name": "cat"}]
    file = write_coco(tmp_path / "x.json", [annotation("a", [1, 2, 3, 4])], categories=categories)
    with pytest.raises(InputError, match=r"category id 1 to 'person' and to 'cat'; expected one"):
        read_coco(file, photos)
    write_coco(file, [annotation("a", [1, 2, 3, 4])], categories=2 * categories[:1])
    assert read_coco(file, photos).items[0].labels.tolist() == [1]


def test_repeated_annotations_count_once(tmp_path, photos):
    first, second = annotation("a", [1, 2, 3, 4], id=7), annotation("a", [9, 9, 3, 4], id=7)
    unnamed = [annotation("b", [1, 2, 3, 4], id=None) for _ in range(2)]
    scenes = read_coco(write_coco(tmp_path / "x.json", [first, second, *unnamed]), photos)
    assert scenes.items[0].boxes.tolist() == [[1, 2, 4, 6]]
    assert len(scenes.items[1].boxes) == 1
    assert scenes.problems.found["object left out, its id came before"] == ["annotation 7"]


def test_crowds_are_marked_by_zero_or_one(tmp_path, photos):
    given = [0, 1, False, True, "0", "1", 2, None, [1]]
    marked = [annotation("a", [1, 2, 3, 4], iscrowd=value) for value in given]
    scenes = read_coco(write_coco(tmp_path / "x.json", marked), photos)
    assert scenes.items[0].crowd.tolist() == [False, True, False, True]
    cases = scenes.problems.found["object left out, its iscrowd is neither 0 nor 1"]
    assert len(cases) == 5
    assert cases[0].endswith("('0')")


def test_a_bad_outline_costs_no_box_but_the_masks_of_its_image(tmp_path, photos):
    good = [[1, 2, 11, 2, 11, 12, 1, 12]]
    objects = [annotation(name, [1, 2, 10, 10], segmentation=good) for name in ("a", "b")]
    objects.append(annotation("a", [5, 5, 5, 5], segmentation=[[1, 2, 3, 4]]))
    scenes = read_coco(write_coco(tmp_path / "x.json", objects), photos)
    a, b = scenes.items[:2]
    assert len(usable(scenes, "detect").items[0].boxes) == 2
    assert a.outlines is None
    assert list(b.outlines) == [good]
    assert "a.png" not in [scene.name for scene in usable(scenes, "instances").items]
    assert scenes.problems.count("outline left out, it cannot be drawn") == 1


def test_yolo_text_that_is_no_text(tmp_path, photos):
    texts = tmp_path / "labels"
    texts.mkdir()
    (texts / "a.txt").write_bytes(b"\xff\xfe0 1")
    (texts / "b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    scenes = read_yolo(texts, photos)
    assert [scene.path.name for scene in scenes.items] == ["b.png"]
    assert scenes.problems.count("image left out, its text file cannot be read") == 1


def test_yolo_boxes_and_polygons(tmp_path, photos):
    texts = tmp_path / "labels"
    texts.mkdir()
    lines = ["0 0.5 0.5 0.5 0.5", "", "15 0 0 0.5 0 0.5 1", "80 .5 .5 .1 .1", "0 1 2", "x 1 1 1 1"]
    (texts / "a.txt").write_text("\n".join([*lines, "0 nan 0.5 0.5 0.5"]))
    for name in ("empty", "broken", "gone"):
        (texts / f"{name}.txt").touch()
    scenes = read_yolo(texts, photos)
    a, empty = scenes.items
    assert a.boxes.tolist() == [[10, 5, 30, 15], [0, 0, 20, 20]]
    assert a.labels.tolist() == [1, 17]
    assert len(empty.labels) == 0
    counted = {kind: len(cases) for kind, cases in scenes.problems.found.items()}
    assert counted == {
        "image left out, it has no text file": 1,
        "missing image": 1,
        "object left out, its class is unknown": 1,
        "object left out, its line cannot be read": 3,
        "broken image": 1,
        "image without objects": 1,
    }
    assert "a.txt line 4 (class 80; expected 0 to 79)" in "\n".join(scenes.problems.lines())


def test_yolo_images_that_share_a_text_file_are_left_out_and_counted(tmp_path, photos):
    texts = tmp_path / "labels"
    texts.mkdir()
    Image.new("RGB", (8, 8)).save(photos / "a.jpg")
    for name in ("a", "b"):
        (texts / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    scenes = read_yolo(texts, photos)
    assert [scene.path.name for scene in scenes.items] == ["b.png"]
    (kind,) = [kind for kind in scenes.problems.found if "shares its text file" in kind]
    assert scenes.problems.found[kind] == ["a.jpg (a.txt)", "a.png (a.txt)"]


def test_yolo_lines_count_once_and_a_mark_at_the_start_costs_no_object(tmp_path, photos):
    texts = tmp_path / "labels"
    texts.mkdir()
    line = "0 0.5 0.5 0.5 0.5\n"
    (texts / "a.txt").write_text(f"{line}0 .50 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5", "utf-8-sig")
    scenes = read_yolo(texts, photos)
    assert scenes.items[0].labels.tolist() == [1, 2]
    assert scenes.problems.found["object left out, its line came before"] == ["a.txt line 2"]


def test_coco_objects_and_images_that_came_before(tmp_path, photos):
    first = annotation("a", [1, 2, 10, 10])
    bare = {k: v for k, v in annotation("b", [1, 2, 3, 4]).items() if k != "id"}
    images = [{"id": k, "file_name": f"{k[0]}.png"} for k in ("a", "b", "b2")]
    file = write_coco(tmp_path / "x.json", [first, first | {"id": 7}, bare, bare], images=images)
    scenes = read_coco(file, photos)
    assert [len(scene.labels) for scene in scenes.items] == [2, 1]
    counted = {kind: len(cases) for kind, cases in scenes.problems.found.items()}
    assert counted == {
        "image left out, its file came before": 1,
        "object counted although it came before under another id": 1,
        "object left out, it has no id and came before": 1,
    }


@pytest.fixture
def yolo(tmp_path, photos):
    """A folder of text files two below that of a data set, with one object of number 3."""
    texts = tmp_path / "labels" / "val"
    texts.mkdir(parents=True)
    (texts / "a.txt").write_text("3 0.5 0.5 0.5 0.5\n")
    return texts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "path: .\nnc: 4\nnames: [a, b, c, cat]\n"),
        ("data.yml", "names: {'3': cat}\n"),
        ("labels/dataset.yaml", "names:\n  1: person\n  3: cat\n"),
        ("labels/val/classes.txt", "a\nb\nc\ncat\n"),
    ],
)
def test_yolo_numbers_are_named_by_the_data_set(tmp_path, photos, yolo, name, text, caplog):
    caplog.set_level("INFO", "nrpurify.data.yolo")
    (tmp_path / name).write_text(text)
    (tmp_path / "classes.yaml").write_text("classes: {3: dog}\n")  # no file of names
    scenes = read_yolo(yolo, photos)
    assert scenes.items[0].labels.tolist() == [17]
    assert f"labels/val are named in {tmp_path / name}" in caplog.text
    assert scenes.problems.count("missing image") == 0


def test_yolo_numbers_are_cocos_where_nothing_names_them(photos, yolo):
    assert read_yolo(yolo, photos).items[0].labels.tolist() == [4]


def test_the_nearest_yolo_names_count_and_given_ones_before_all(tmp_path, photos, yolo):
    (tmp_path / "data.yaml").write_text("names: {3: dog}")
    (yolo.parent / "data.yaml").write_text("names: {3: cat}")
    assert read_yolo(yolo, photos).items[0].labels.tolist() == [17]
    assert read_yolo(yolo, photos, classes={3: "bird"}).items[0].labels.tolist() == [16]
    found = read_annotations(yolo, photos, tmp_path / "data.yaml")
    assert found.items[0].labels.tolist() == [18]
    with pytest.raises(InputError, match=r"go with a folder of YOLO text files.*leave them out"):
        read_annotations(tmp_path / "data.yaml", photos, tmp_path / "data.yaml")


def test_yolo_numbers_between_those_with_names_are_unknown(tmp_path, photos, yolo):
    (tmp_path / "data.yaml").write_text("names: {1: person, 90: toothbrush}")
    problems = read_yolo(yolo, photos).problems
    assert "(class 3; expected 1 to 90)" in "\n".join(problems.lines())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: cat", "names is 'cat'; expected a list of the classes' names"),
        ("names: []", r"names is \[\]; expected"),
        ("names: {cat: 3}", "class number 'cat'; expected a whole number from 0"),
        ("names: [a, no]", "names has False for class 1; expected a text: put it in quotes"),
        ("nc: 3\nnames: [a]", "nc is 3 and the number of names is 1; mend"),
        ("names: [", "not valid YAML"),
    ],
)
def test_yolo_names_that_are_none(tmp_path, photos, yolo, text, message):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_yolo(yolo, photos)


def test_yolo_names_that_contradict_each_other(tmp_path, photos, yolo):
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    read_yolo(yolo, photos)
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match=r"data.yaml' and .*classes.txt' give .*--classes FILE"):
        read_yolo(yolo, photos)


def test_a_yaml_file_without_yolo_names(tmp_path):
    (tmp_path / "data.yaml").write_text("nc: 3")
    with pytest.raises(InputError, match="has no 'names'; expected a list"):
        read_yolo_names(tmp_path / "data.yaml")


def test_yolo_sub_folders_are_paired_by_their_names(tmp_path, photos, yolo):
    for folder in ("train", "val"):
        write_png(photos / folder / "a.png", torch.rand(3, 8, 8))
    (yolo.parent / "train").mkdir()
    (yolo.parent / "train" / "a.txt").write_text("0.0 0.5 0.5 0.5 0.5\n")
    scenes = read_yolo(yolo.parent, photos)
    assert [(s.name, s.labels.tolist()) for s in scenes.items] == [
        ("train/a.png", [1]),
        ("val/a.png", [4]),
    ]
    kind = "image left out, it has no text file"
    assert scenes.problems.found[kind] == ["a.png", "b.png", "broken.png", "empty.png"]


def test_yolo_without_a_pair(tmp_path, photos):
    (tmp_path / "other.txt").touch()
    with pytest.raises(InputError, match=r"other\.\*"):
        read_yolo(tmp_path, photos)


def test_masks_and_boxes_follow_the_image_when_it_is_scaled(tmp_path, photos):
    pytest.importorskip("faster_coco_eval")
    texts = tmp_path / "labels"
    texts.mkdir()
    (texts / "a.txt").write_text("0 0 0 0.5 0 0.5 1 0 1\n")
    (texts / "empty.txt").touch()
    scene, empty = read_yolo(texts, photos).items
    image, truth = scene.read(masks=True)
    assert image.shape == (1, 3, 20, 40)
    assert truth.masks[0, :, :20].all()
    assert not truth.masks[0, :, 20:].any()
    image, truth = scene.read(20, masks=True)
    assert image.shape == (1, 3, 10, 20)
    assert truth.boxes.tolist() == [[0, 0, 10, 10]]
    assert truth.masks.sum() == 100
    assert scene.read(1000)[0].shape == (1, 3, 20, 40)
    assert scene.read()[1].masks is None
    assert empty.read(masks=True)[1].masks.shape == (0, 10, 10)


def test_outlines_as_run_lengths():
    pytest.importorskip("faster_coco_eval")
    code = {"size": [2, 3], "counts": [2, 2, 2]}
    assert draw_outlines([code], 2, 3).int().tolist() == [[[0, 1, 0], [0, 1, 0]]]
    assert draw_outlines(None, 2, 3) is None


def test_outlines_as_a_text_of_run_lengths():
    codes = pytest.importorskip("faster_coco_eval.core").mask
    generator = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = np.asfortranarray(generator.random((61, 83)) < density).astype(np.uint8)
        code = codes.encode(mask)
        text = code["counts"].decode() if isinstance(code["counts"], bytes) else code["counts"]
        outline = read_outline({"size": [61, 83], "counts": text}, 61, 83)
        assert (draw_outlines([outline], 61, 83)[0].numpy() == mask).all()
        assert read_outline({"size": [61, 83], "counts": text[:-1]}, 61, 83) is None
        assert read_outline({"size": [61, 82], "counts": text}, 61, 83) is None


@pytest.mark.parametrize(
    "given",
    [
        "text",
        7,
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [1, 2, 3, 4, 5, 6],
        {"size": [2, 3]},
        {"size": [2, 3], "counts": [2, 2, 1]},
        {"size": [2, 3], "counts": [2, -2, 6]},
        {"size": [2, 3], "counts": "\u20ac"},
        {"size": [2, 3], "counts": "o" * 50},
        {"size": [10**9, 10**9], "counts": [10**18]},
        [[0, 0, 31, 0, 31, 2]],
        [[0, 0, -1e9, 0, 2, 2]],
        [[0, 0, 10**400, 0, 2, 2]],
    ],
)
def test_outlines_that_cannot_be_drawn(given):
    assert read_outline(given, 2, 3) is None


def test_outlines_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval.core", None)
    with pytest.raises(MissingExtraError, match="nrpurify\\[tasks\\]"):
        draw_outlines([], 2, 3)


def test_size_is_that_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert upright_size(tmp_path / "x.jpg") == (30, 20)
    with pytest.raises(ImageError, match=r"y\.jpg"):
        upright_size(tmp_path / "y.jpg")


@pytest.mark.parametrize(
    ("part", "row", "message"),
    [
        ("images", {"id": [1], "file_name": "a.png"}, r"images\[0\] has the id \[1\]"),
        ("images", {"id": 1, "file_name": ["a.png"]}, r"images\[0\] has the file_name \['a.png'\]"),
        ("categories", {"id": {}, "name": "cat"}, r"categories\[0\] has the id {}"),
        ("categories", {"id": 1, "name": ["cat"]}, r"has the name \['cat'\]; expected a number or"),
        ("annotations", annotation(["a"], []), r"annotations\[0\] has the image_id"),
        ("annotations", annotation("a", [], {}), r"annotations\[0\] has the category_id {}"),
        ("annotations", annotation("a", [], id=[1]), r"annotations\[0\] has the id \[1\]"),
    ],
)
def test_ids_and_names_that_are_none(tmp_path, photos, part, row, message):
    with pytest.raises(InputError, match=message):
        read_coco(write_coco(tmp_path / "x.json", **{"annotations": [], part: [row]}), photos)


def test_nested_without_end(tmp_path, photos):
    (tmp_path / "x.json").write_text('{"images": ' + "[" * 100_000)
    with pytest.raises(InputError, match="as JSON"):
        read_coco(tmp_path / "x.json", photos)


def test_file_names_that_no_file_has(tmp_path, photos):
    (photos / "loop.png").symlink_to("loop.png")
    names = ["a.png", "b\0.png", "x" * 5000, "x/" * 3000, "\ud800.png"]
    images = [{"id": k, "file_name": name} for k, name in enumerate(names)]
    scenes = read_coco(write_coco(tmp_path / "x.json", [], images=images), photos)
    assert [scene.name for scene in scenes.items] == ["a.png"]
    assert scenes.problems.count("image left out, its name is no file's") == 4
    assert max(map(len, scenes.problems.lines(9))) < 400
    images.append({"id": 9, "file_name": "loop.png"})
    scenes = read_coco(write_coco(tmp_path / "x.json", [], images=images), photos)
    assert [scene.name for scene in scenes.items] == ["a.png"]


def test_numbers_beyond_floats_and_texts_that_are_none(tmp_path, photos):
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "\ud800"}]
    odd = [
        annotation("a", [10**400, 1, 1, 1]),
        annotation("a", [1, 1, 5, 5], segmentation=[[1, 1, 10**400, 1, 5, 5]]),
        annotation("a", [1, 1, 5, 5], 2),
    ]
    file = write_coco(tmp_path / "x.json", odd, categories=categories)
    problems = read_coco(file, photos).problems
    assert problems.count("object left out, its box is not four numbers") == 1
    assert problems.count("outline left out, it cannot be drawn") == 1
    "\n".join(problems.lines()).encode()


def test_polygons_may_leave_the_image_but_not_go_on_without_end(tmp_path, photos):
    codes = pytest.importorskip("faster_coco_eval.core").mask
    for outline in ([[-3, -2, 25, 4.5, 12, 31]], [[-150, 5, 9, 180, 170, -90]]):
        assert read_outline(outline, 20, 20) == outline
        expected = codes.decode(codes.merge(codes.frPyObjects(outline, 20, 20)))
        assert (draw_outlines([outline], 20, 20)[0].numpy() == expected).all()
    far = [[0, 0, 1e8, 0, 1e8, 1e8, 0, 1e8]]
    odd = [annotation("a", [1, 2, 10, 10], segmentation=far)]
    scenes = read_coco(write_coco(tmp_path / "x.json", odd), photos)
    assert scenes.problems.count("outline left out, it cannot be drawn") == 1
    (tmp_path / "a.txt").write_text("0 0 0 1e7 0 1e7 1e7\n0 0 0 1e308 0 1 1\n0 0 0 1.5 0 1 1\n")
    (scene,) = read_yolo(tmp_path, photos).items
    assert list(scene.outlines) == [[[0, 0, 60, 0, 40, 20]]]


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_always_that_of_the_image_read(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"x.{ending}"
    Image.new("RGB", (30, 20)).save(file, exif=exif)
    assert upright_size(file) == tuple(read_image(file).rgb.shape[1:])
