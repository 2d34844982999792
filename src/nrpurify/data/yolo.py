"""YOLO's annotations: beside each image a text file, one object a line."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from nrpurify.core.config import read_yaml, shown
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.image_files import find_images
from nrpurify.data.coco import COCO_LABELS
from nrpurify.data.detection import BROKEN, Problems, SceneBuilder, Scenes
from nrpurify.data.labels import read_class_names
from nrpurify.data.masks_rle import read_outline
from nrpurify.models.detectors.categories import COCO_CATEGORIES

_LOGGER = logging.getLogger(__name__)
Line = tuple[int, tuple[float, ...]]
"""Class number and shares of the image."""
COCO_NAMES: tuple[str, ...] = tuple(COCO_CATEGORIES.values())
"""COCO's 80 names in the order in which YOLO counts them."""
NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.yaml", "classes.txt")
"""Files of class names, as data sets for Ultralytics, Roboflow and LabelImg have them."""


def read_yolo(
    annotations: str | Path,
    images: str | Path,
    *,
    classes: Mapping[int, str] | Sequence[str] | None = None,
    labels: Mapping[str, int] = COCO_LABELS,
) -> Scenes:
    """Read a folder of text files ``NAME.txt`` with the folder of the images ``NAME.*``.

    Sub-folders are searched; an image in one has its text file in the sub-folder of the same name.
    A line is ``class cx cy w h`` (a box) or ``class x y x y x y ...`` (a polygon); all but the
    class, which counts from 0, are shares of the image. The images are those that have a text file;
    an empty file says that there are no objects. Problems are counted and named as by
    :func:`nrpurify.data.coco.read_coco`. So are images without a text file, images that share one
    (``a.jpg`` and ``a.png``) and lines that came before, which are left out.

    Args:
        annotations: The folder of text files.
        images: The folder of images.
        classes: Names by class number, or in the order of the class numbers; None for those of the
            nearest file of :data:`NAME_FILES`, in the folder of text files or up to two above it,
            and for COCO's 80 names where there is none.
        labels: The detector's label by class name.

    Raises:
        InputError: No text file has an image, or a file of class names cannot be used.
        MissingExtraError: A file of class names is YAML, and PyYAML is not installed.
    """
    problems = Problems()
    texts = {
        path.relative_to(annotations).with_suffix("").as_posix(): path
        for path in sorted(Path(annotations).rglob("*.txt"))
        if path.name not in NAME_FILES
    }
    if classes is None:
        classes = find_class_names(annotations)
    names = classes if isinstance(classes, Mapping) else dict(enumerate(classes))
    files = _by_stem(images, problems)
    for stem in sorted(files.keys() - texts.keys()):
        problems.add("image left out, it has no text file", files[stem][1])
    for stem in sorted(texts.keys() - files.keys()):
        problems.add("missing image", f"{stem}.*")
    scenes = []
    for stem in sorted(texts.keys() & files.keys()):
        try:
            builder = SceneBuilder(files[stem][0], problems, files[stem][1])
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
            _add(line, f"{stem}.txt line {number}", builder, names, labels, seen)
        scenes.append(builder.build())
    if not scenes:
        found = "; ".join(problems.lines()) or "no text files"
        raise InputError(f"no image of {images} can be read with {annotations}: {found}")
    return Scenes(scenes, problems)


def find_class_names(annotations: str | Path) -> dict[int, str]:
    """Names by class number for a folder of text files; the file of them is named in the log.

    Args:
        annotations: The folder. Files of :data:`NAME_FILES` are searched in it, then one and two
            folders above; the nearest counts. A YAML file without ``names`` is passed over.

    Raises:
        InputError: A file cannot be used, or two files of one folder differ.
        MissingExtraError: A file is YAML, and PyYAML is not installed.
    """
    nearest = Path(annotations).resolve()
    for folder in (nearest, *nearest.parents[:2]):
        files = [path for name in NAME_FILES if (path := folder / name).is_file()]
        found = [(names, path) for path in files if (names := _names(path))]
        for names, path in found[1:]:
            if names != found[0][0]:
                raise InputError(
                    f"{str(found[0][1])!r} and {str(path)!r} give the classes different names; "
                    "keep one of them, or name one (--classes FILE, in plans and Python: classes)"
                )
        if found:
            names, path = found[0]
            _LOGGER.info("the classes of %s are named in %s", annotations, path)
            return names
    return dict(enumerate(COCO_NAMES))


def read_yolo_names(path: str | Path) -> dict[int, str]:
    """Names by class number: ``names`` of a YAML file, or the lines of a text file from 0.

    ``names`` is a list, or a mapping from numbers to names.

    Raises:
        InputError: The file cannot be read, or has no such names.
        MissingExtraError: The file is YAML, and PyYAML is not installed.
    """
    names = _names(Path(path))
    if names is None:
        raise InputError(f"{str(path)!r} has no 'names'; expected a list of the classes' names")
    return names


def _names(path: Path) -> dict[int, str] | None:
    """The same; None of a YAML file without ``names``."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return dict(enumerate(read_class_names(path)))
    values, _ = read_yaml(path)
    if "names" not in values:
        return None
    given = values["names"]
    rows = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(rows, dict) or not rows:
        raise InputError(
            f"{path}: names is {shown(given)}; expected a list of the classes' names, or a mapping "
            "from numbers to names"
        )
    for number, name in rows.items():
        if not str(number).isdecimal():
            raise InputError(
                f"{path}: names has the class number {shown(number)}; expected a whole number "
                "from 0"
            )
        if not isinstance(name, str):
            raise InputError(
                f"{path}: names has {shown(name)} for class {number}; expected a text: put it in "
                "quotes"
            )
    if "nc" in values and values["nc"] != len(rows):
        raise InputError(
            f"{path}: nc is {shown(values['nc'])} and the number of names is {len(rows)}; "
            "mend one of them"
        )
    return {int(number): name for number, name in rows.items()}


def _by_stem(images: str | Path, problems: Problems) -> dict[str, tuple[Path, str]]:
    """Images and their names by these names without suffix; counts those that share one."""
    files: dict[str, list[tuple[Path, str]]] = {}
    for found in find_images(images, recursive=True):
        stem = found.relative.with_suffix("").as_posix()
        files.setdefault(stem, []).append((found.path, found.relative.as_posix()))
    for stem, sharing in files.items():
        for _, name in sharing[1:] and sharing:
            kind = "image left out, another one shares its text file"
            problems.add(kind, f"{name} ({stem}.txt)")
    return {stem: sharing[0] for stem, sharing in files.items() if len(sharing) == 1}


def _add(
    line: str,
    place: str,
    builder: SceneBuilder,
    names: Mapping[int, str],
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
    expected = f"{min(names)} to {max(names)}"
    name = names.get(number, f"class {number}; expected {expected}")
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
    """Class number and shares; None unless there are four or at least three pairs.

    Some programs write the number as ``3.0``.
    """
    try:
        number, *shares = (float(value) for value in line.split())
    except ValueError:
        return None
    fits = len(shares) == 4 or (len(shares) >= 6 and len(shares) % 2 == 0)
    good = fits and number.is_integer() and all(map(math.isfinite, shares))
    return (int(number), tuple(shares)) if good else None
