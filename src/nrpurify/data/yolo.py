"""YOLO's annotations: beside each image a text file, one object a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.image_files import find_images
from nrpurify.data.coco import COCO_LABELS
from nrpurify.data.detection import BROKEN, Problems, SceneBuilder, Scenes
from nrpurify.data.masks_rle import read_outline
from nrpurify.models.detectors.categories import COCO_CATEGORIES

Line = tuple[int, tuple[float, ...]]
"""Class number and shares of the image."""
COCO_NAMES: tuple[str, ...] = tuple(COCO_CATEGORIES.values())
"""COCO's 80 names in the order in which YOLO counts them."""


def read_yolo(
    annotations: str | Path,
    images: str | Path,
    *,
    classes: Sequence[str] = COCO_NAMES,
    labels: Mapping[str, int] = COCO_LABELS,
) -> Scenes:
    """Read a folder of text files ``NAME.txt`` with the folder of the images ``NAME.*``.

    A line is ``class cx cy w h`` (a box) or ``class x y x y x y ...`` (a polygon); all but the
    class, which counts from 0, are shares of the image. The images are those that have a text file;
    an empty file says that there are no objects. Problems are counted and named as by
    :func:`nrpurify.data.coco.read_coco`. So are images without a text file, images that share one
    (``a.jpg`` and ``a.png``) and lines that came before, which are left out.

    Args:
        annotations: The folder of text files.
        images: The folder of images.
        classes: Names in the order of the class numbers.
        labels: The detector's label by class name.

    Raises:
        InputError: No text file has an image.
    """
    problems = Problems()
    texts = {path.stem: path for path in sorted(Path(annotations).glob("*.txt"))}
    files = _by_stem(images, problems)
    for stem in files.keys() - texts.keys():
        problems.add("image left out, it has no text file", files[stem].name)
    for stem in sorted(texts.keys() - files.keys()):
        problems.add("missing image", f"{stem}.*")
    scenes = []
    for stem in sorted(texts.keys() & files.keys()):
        try:
            builder = SceneBuilder(files[stem], problems)
        except ImageError as error:
            problems.add(BROKEN, str(error))
            continue
        try:
            lines = texts[stem].read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            problems.add("image left out, its text file cannot be read", f"{stem}.txt: {error}")
            continue
        seen: set[Line] = set()
        for number, line in enumerate(lines, 1):
            _add(line, f"{stem}.txt line {number}", builder, classes, labels, seen)
        scenes.append(builder.build())
    if not scenes:
        found = "; ".join(problems.lines()) or "no text files"
        raise InputError(f"no image of {images} can be read with {annotations}: {found}")
    return Scenes(scenes, problems)


def _by_stem(images: str | Path, problems: Problems) -> dict[str, Path]:
    """Images by the stem of their name; those that share one are left out, and counted."""
    files: dict[str, list[Path]] = {}
    for found in find_images(images, recursive=False):
        files.setdefault(found.path.stem, []).append(found.path)
    for stem, paths in files.items():
        for path in paths[1:] and paths:
            kind = "image left out, another one shares its text file"
            problems.add(kind, f"{path.name} ({stem}.txt)")
    return {stem: paths[0] for stem, paths in files.items() if len(paths) == 1}


def _add(
    line: str,
    place: str,
    builder: SceneBuilder,
    classes: Sequence[str],
    labels: Mapping[str, int],
    seen: set[Line],
) -> None:
    if not line.strip():
        return
    parsed = _parse(line)
    if parsed is None:
        builder.problems.add("object left out, its line cannot be read", f"{place}: {line[:40]!r}")
        return
    if parsed in seen:
        builder.problems.add("object left out, its line came before", place)
        return
    seen.add(parsed)
    number, shares = parsed
    known = 0 <= number < len(classes)
    name = classes[number] if known else f"class {number}; expected 0 to {len(classes) - 1}"
    if name not in labels:
        builder.problems.add("object left out, its class is unknown", f"{place} ({name})")
        return
    sides = (builder.width, builder.height)
    values = [share * sides[k % 2] for k, share in enumerate(shares)]
    if len(values) == 4:
        x, y, width, height = values
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        builder.add(box, labels[name])
    elif (outline := read_outline([values], builder.height, builder.width)) is None:
        builder.problems.add("object left out, its outline cannot be drawn", place)
    else:
        box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
        builder.add(box, labels[name], outline=outline)


def _parse(line: str) -> Line | None:
    """Class number and shares; None unless there are four or at least three pairs."""
    first, *rest = line.split()
    try:
        number, shares = int(first), tuple(float(value) for value in rest)
    except ValueError:
        return None
    fits = len(shares) == 4 or (len(shares) >= 6 and len(shares) % 2 == 0)
    return (number, shares) if fits and all(map(math.isfinite, shares)) else None
