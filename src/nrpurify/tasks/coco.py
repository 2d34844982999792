"""COCO's annotation files: one JSON of images, categories and annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nrpurify.errors import ImageError, InputError
from nrpurify.models.detectors.categories import COCO_CATEGORIES
from nrpurify.tasks.outlines import read_outline
from nrpurify.tasks.scenes import Problems, SceneBuilder, Scenes

COCO_LABELS: dict[str, int] = {name: label for label, name in COCO_CATEGORIES.items()}
"""The label that detectors of COCO give to a category, by its name."""


def read_coco(
    annotations: str | Path, images: str | Path, *, labels: Mapping[str, int] = COCO_LABELS
) -> Scenes:
    """Read a COCO annotation file with the folder of its images.

    Images that are missing or broken, objects of unknown category, boxes outside their image,
    annotations of unlisted images and images without objects are counted and named in the problems.
    Images without objects stay: what is detected there is wrong.

    Args:
        annotations: ``instances_*.json`` or one like it.
        images: The folder that its file names are relative to.
        labels: The detector's label by category name.

    Raises:
        InputError: The file is no COCO annotation file, or none of its images is there.
    """
    data = _load(Path(annotations))
    problems = Problems()
    names = {category["id"]: category["name"] for category in data["categories"]}
    builders = _open_images(data["images"], Path(images), problems)
    for entry in data["annotations"]:
        _add(entry, builders, names, labels, problems)
    scenes = [builder.build() for builder in builders.values() if builder is not None]
    if not scenes:
        raise InputError(
            f"none of the {len(data['images'])} images of {annotations} can be read from {images}; "
            + "; ".join(problems.lines())
        )
    return Scenes(scenes, problems)


def _load(path: Path) -> dict[str, Any]:
    """The file's content, its shape checked."""
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(path)!r} as JSON: {error}") from error
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
            if missing := [key for key in keys if not isinstance(row, dict) or key not in row]:
                raise InputError(f"{str(path)!r}: {part}[{k}] has no {missing[0]!r}")
    return data


def _open_images(
    rows: list[dict[str, Any]], folder: Path, problems: Problems
) -> dict[Any, SceneBuilder | None]:
    """A builder by image id; None where there is no image to build on."""
    builders: dict[Any, SceneBuilder | None] = {}
    for row in rows:
        name = str(row["file_name"])
        if row["id"] in builders:
            problems.add("image left out, its id came before", f"{name} (id {row['id']})")
            continue
        builders[row["id"]] = None
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            problems.add("image outside the folder, not read", name)
        elif not path.is_file():
            problems.add("missing image", name)
        else:
            try:
                builders[row["id"]] = SceneBuilder(path, problems)
            except ImageError as error:
                problems.add("broken image", str(error))
    return builders


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
    else:
        x, y, width, height = entry["bbox"]
        crowd = bool(entry.get("iscrowd", 0))
        given, outline = entry.get("segmentation") or None, None
        if given is not None:
            outline = read_outline(given, builder.height, builder.width)
            if outline is None:
                problems.add("object left out, its outline cannot be read", place)
                return
        builder.add((x, y, x + width, y + height), labels[name], crowd=crowd, outline=outline)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, int | float) and math.isfinite(value) for value in box)
    )
