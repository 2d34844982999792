"""COCO's annotation files: one JSON of images, categories and annotations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from nrpurify.core.errors import ImageError, InputError
from nrpurify.data.detection import BROKEN, Problems, SceneBuilder, Scenes
from nrpurify.data.masks_rle import read_outline
from nrpurify.models.detectors.categories import COCO_CATEGORIES

COCO_LABELS: dict[str, int] = {name: label for label, name in COCO_CATEGORIES.items()}
"""The label that detectors of COCO give to a category, by its name."""


def read_coco(
    annotations: str | Path, images: str | Path, *, labels: Mapping[str, int] = COCO_LABELS
) -> Scenes:
    """Read a COCO annotation file with the folder of its images.

    Images that are missing, broken or named as no file can be, objects of unknown category, boxes
    outside their image, outlines that cannot be drawn, annotations of unlisted images, images and
    annotations that came before, and images without objects are counted and named in the problems.
    Images without objects stay: what is detected there is wrong. So does the box of an object whose
    outline cannot be drawn; its scene then has no outlines.

    Boxes are taken to be in the frame of the upright image. One whose file declares another width
    or height is left out: it was resized, or it is stored on its side and writers of such files
    differ in which frame they mean.

    Args:
        annotations: ``instances_*.json`` or one like it.
        images: The folder that its file names are relative to.
        labels: The detector's label by category name.

    Raises:
        InputError: The file is no COCO annotation file, gives one category id to two names, or none
            of its images can be used.
    """
    data = _load(Path(annotations))
    problems = Problems()
    names = _names(data["categories"], str(annotations))
    builders = _open_images(data["images"], Path(images), problems)
    for entry in _once(data["annotations"], problems):
        _add(entry, builders, names, labels, problems)
    scenes = [builder.build() for builder in builders.values() if builder is not None]
    if not scenes:
        raise InputError(
            f"none of the {len(data['images'])} images of {annotations} in {images} can be used; "
            + "; ".join(problems.lines())
        )
    return Scenes(scenes, problems)


def _load(path: Path) -> dict[str, Any]:
    """The file's content, its shape checked."""
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"cannot read {str(path)!r} as JSON: {error}; expected a COCO annotation file, or a "
            "folder of YOLO text files"
        ) from error
    wanted = {
        "images": ("id", "file_name"),
        "categories": ("id", "name"),
        "annotations": ("image_id", "category_id", "bbox"),
    }
    for part, keys in wanted.items():
        rows = data.get(part) if isinstance(data, dict) else None
        if not isinstance(rows, list):
            raise InputError(f"{str(path)!r} has no list {part!r}; expected a COCO annotation file")
        for k, row in enumerate(rows):
            _check_row(row, keys, f"{str(path)!r}: {part}[{k}]")
    return data


def _check_row(row: Any, keys: Sequence[str], where: str) -> None:
    if missing := [key for key in keys if not isinstance(row, dict) or key not in row]:
        raise InputError(f"{where} has no {missing[0]!r}")
    for key in dict.fromkeys(("id", *keys)):
        if key != "bbox" and isinstance(row.get(key), list | dict):
            given = repr(row[key])[:40]
            raise InputError(f"{where} has the {key} {given}; expected a number or a text")


def _names(rows: list[dict[str, Any]], where: str) -> dict[Any, Any]:
    """Names of categories by id."""
    names: dict[Any, Any] = {}
    for row in rows:
        if (name := names.setdefault(row["id"], row["name"])) != row["name"]:
            raise InputError(
                f"{where!r} gives the category id {row['id']!r} to {name!r} and to "
                f"{row['name']!r}; expected one name an id: give one of them an id of its own"
            )
    return names


def _once(rows: list[dict[str, Any]], problems: Problems) -> Iterator[dict[str, Any]]:
    """Annotations without those whose id came before, or that have none and repeat another.

    Of two that differ in their ids alone both count, as the reference implementation counts them.
    """
    ids, contents = set(), set()
    for number, row in enumerate(rows):
        key, place = row.get("id"), f"annotation {row.get('id', f'number {number + 1}')}"
        content = json.dumps({k: v for k, v in row.items() if k != "id"}, sort_keys=True)
        if key is not None and key in ids:
            problems.add("object left out, its id came before", place)
            continue
        if content in contents:
            if key is None:
                problems.add("object left out, it has no id and came before", place)
                continue
            problems.add("object counted although it came before under another id", place)
        ids.add(key)
        contents.add(content)
        yield row


def _open_images(
    rows: list[dict[str, Any]], folder: Path, problems: Problems
) -> dict[Any, SceneBuilder | None]:
    """A builder by image id; None where there is no image to build on."""
    builders: dict[Any, SceneBuilder | None] = {}
    files: set[str] = set()
    for row in rows:
        name = str(row["file_name"])
        if row["id"] in builders:
            problems.add("image left out, its id came before", f"{name} (id {row['id']})")
            continue
        builders[row["id"]] = None
        try:
            place = _place(name, folder)
            there = place is not None and (folder / name).is_file()
        except (OSError, ValueError, RuntimeError):  # a NUL, too long, a loop of links
            problems.add("image left out, its name is no file's", repr(name[:60]))
            continue
        if place is None:
            problems.add("image outside the folder, not read", name)
        elif not there:
            problems.add("missing image", name)
        elif place in files:
            problems.add("image left out, its file came before", f"{name} (id {row['id']})")
        else:
            files.add(place)
            builders[row["id"]] = _open(row, folder / name, place, problems)
    return builders


def _open(row: dict[str, Any], path: Path, place: str, problems: Problems) -> SceneBuilder | None:
    """A builder; None if the image is broken or of another size than its row declares."""
    try:
        builder = SceneBuilder(path, problems, place)
    except ImageError as error:
        problems.add(BROKEN, str(error))
        return None
    declared, found = (row.get("width"), row.get("height")), (builder.width, builder.height)
    if all(given in (None, side) for given, side in zip(declared, found, strict=True)):
        return builder
    given = " × ".join("?" if side is None else repr(side)[:20] for side in declared)
    problems.add(
        "image left out, its size is not the declared one",
        f"{place} (declared {given}, upright it has {found[0]} × {found[1]} pixels)",
    )
    return None


def _place(name: str, folder: Path) -> str | None:
    """The image's place below the folder, without dots; None outside of it."""
    resolved = (folder / name).resolve()
    if not resolved.is_relative_to(folder.resolve()):
        return None
    given = PurePath(name)
    plain = not given.anchor and ".." not in given.parts
    return (given if plain else resolved.relative_to(folder.resolve())).as_posix()


def _add(
    entry: dict[str, Any],
    builders: Mapping[Any, SceneBuilder | None],
    names: Mapping[Any, str],
    labels: Mapping[str, int],
    problems: Problems,
) -> None:
    place = f"annotation {entry.get('id', '?')}"
    if entry["image_id"] not in builders:
        problems.add("annotation of an unlisted image", place)
        return
    builder = builders[entry["image_id"]]
    if builder is None:
        problems.add("object left out with its image", place)
        return
    name = names.get(entry["category_id"], f"category {entry['category_id']}")
    if name not in labels:
        problems.add("object left out, its class is unknown", f"{place} ({name})")
    elif not _is_box(entry["bbox"]):
        problems.add("object left out, its box is not four numbers", place)
    elif (crowd := entry.get("iscrowd", 0)) not in (0, 1):
        given = repr(crowd)[:20]
        problems.add("object left out, its iscrowd is neither 0 nor 1", f"{place} ({given})")
    else:
        x, y, width, height = entry["bbox"]
        outline = None
        if drawn := entry.get("segmentation"):
            outline = read_outline(drawn, builder.height, builder.width)
            if outline is None:
                problems.add("outline left out, it cannot be drawn", place)
        box = (x, y, x + width, y + height)
        builder.add(box, labels[name], crowd=bool(crowd), outline=outline)


def _is_box(box: Any) -> bool:
    most = sys.float_info.max
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, int | float) and abs(value) <= most for value in box)
    )
