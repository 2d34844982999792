"""Which image has which class: label tables in CSV form and folders of classes."""

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nrpurify.core.errors import InputError
from nrpurify.core.image_files import SUFFIXES, LeftOut, log_left_out, scan_images

_log = logging.getLogger("nrpurify.data.labels")
_FORMS = {("ImageId", "TrueLabel"): 1, ("image", "label"): 0}
_TARGETS = {("ImageId", "TargetClass"): 1}
_MOST = 2**31
"""Labels are below; no classifier has as many classes."""


class LabeledImage(NamedTuple):
    """An image file and its zero-based class."""

    path: Path
    label: int


@dataclass(frozen=True)
class LabeledImages:
    """Files paired with labels, and what could not be paired.

    Attributes:
        items: the pairs, sorted by path.
        missing: ids that have a label but no file, sorted.
        unlabeled: files without a label, sorted.

    """

    items: list[LabeledImage]
    missing: list[str]
    unlabeled: list[Path]

    def notes(self) -> list[str]:
        """Sentences for the user about what could not be paired; empty when all is well."""
        return [
            f"{what} ({len(names)}): {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
            for what, names in (
                ("labels without an image", self.missing),
                ("images without a label", [path.name for path in self.unlabeled]),
            )
            if names
        ]


def read_labels_csv(path: str | Path) -> dict[str, int]:
    """Read a table of labels as {image id: zero-based class}.

    Two forms are known by their header: that of the NeurIPS 2017 competition (`ImageId` and
    `TrueLabel`, which counts from 1) and `image,label` (from 0). Further columns are ignored.
    The id is the file name without folder and image suffix.

    Raises:
        InputError: no such file, an unknown header, or a line whose label is not an integer, is
            out of range, or whose image is empty or came before; file and line are named.

    """
    return _read_csv(Path(path), _FORMS)


def read_targets_csv(path: str | Path) -> dict[str, int]:
    """Read the `TargetClass` column of a NeurIPS 2017 table as {image id: zero-based class}.

    Raises:
        InputError: as for :func:`read_labels_csv`.

    """
    return _read_csv(Path(path), _TARGETS)


def _read_csv(path: Path, forms: dict[tuple[str, str], int]) -> dict[str, int]:
    labels: dict[str, int] = {}
    try:
        for line, image, text, first in _rows(path, forms):
            name = _image_id(image)
            if not name or name in labels:
                problem = (
                    f"{_short(image)} came before; keep one line" if name else "no image is named"
                )
                raise InputError(f"{path}, line {line}: {problem}")
            labels[name] = _label(text, first, f"{path}, line {line}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the labels in {str(path)!r}: {error}") from error
    if not labels:
        raise InputError(f"{path}: no line below the header; expected one line per image")
    return labels


def _rows(
    path: Path, forms: dict[tuple[str, str], int]
) -> Iterator[tuple[int, str, str | None, int]]:
    """Yield line number, image, label text and the number of the first class."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        for (image, label), first in forms.items():
            if twice := [name for name in (image, label) if header.count(name) > 1]:
                raise InputError(f"{path}, line 1: two columns are named {twice[0]!r}; keep one")
            if image in header and label in header:
                for row in reader:
                    yield reader.line_num, (row[image] or "").strip(), row[label], first
                return
    known = " or ".join(f"'{image},{label}'" for image, label in forms)
    raise InputError(
        f"{path}, line 1: header {_short(','.join(header))} is unknown; expected {known}"
    )


def _short(text: str | None) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def _image_id(image: str) -> str:
    path = Path(image)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def _label(text: str | None, first: int, where: str) -> int:
    try:
        number = int(text or "")
    except ValueError:
        raise InputError(f"{where}: label {_short(text)} is not an integer") from None
    if number >= _MOST:
        raise InputError(f"{where}: label {_short(text)} is too large; expected below {_MOST}")
    if number < first:
        raise InputError(f"{where}: label {number} is too small; this form counts from {first}")
    return number - first


def labeled_images(
    images_dir: str | Path, csv_path: str | Path, *, left_out: list[LeftOut] | None = None
) -> LabeledImages:
    """Pair the images below `images_dir` (recursively) with the labels in a CSV file.

    Entries that the search leaves out are added to `left_out`; without it they are named in the
    log.

    Raises:
        InputError: the table is wrong (:func:`read_labels_csv`), no image has a label, or two
            images of one name would share one.

    """
    labels = read_labels_csv(csv_path)
    files = _search(Path(images_dir), left_out)
    _check_names(path for path in files if path.stem in labels)
    items = [LabeledImage(path, labels[path.stem]) for path in files if path.stem in labels]
    if not items:
        raise InputError(
            f"none of the {len(files)} images in {str(images_dir)!r} has one of the {len(labels)} "
            f"labels in {str(csv_path)!r}; ids such as {next(iter(labels))!r} must be file names"
        )
    return LabeledImages(
        items,
        missing=sorted(labels.keys() - {path.stem for path in files}),
        unlabeled=[path for path in files if path.stem not in labels],
    )


def _search(folder: Path, left_out: list[LeftOut] | None) -> list[Path]:
    scan = scan_images(folder, recursive=True)
    if left_out is None:
        log_left_out(scan.left_out)
    else:
        left_out += scan.left_out
    return [file.path for file in scan.files]


def _check_names(files: Iterable[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in files:
        if (first := seen.setdefault(path.stem, path)) != path:
            raise InputError(
                f"{str(first)!r} and {str(path)!r} would share the label of {path.stem!r}; "
                "give them names of their own, or keep one"
            )


def read_labeled_folder(
    folder: str | Path,
    classes: str | Path | None = None,
    *,
    left_out: list[LeftOut] | None = None,
) -> tuple[list[LabeledImage], dict[int, str]]:
    """Read a folder that holds one sub-folder per class.

    With `classes`, a sub-folder's class is the place of its name in that list. Without, when all
    sub-folders are named by digits, the number is the class; otherwise the classes are numbered
    from 0 in alphabetical order, which the logger ``nrpurify.data.labels`` tells at level
    INFO. Hidden sub-folders are ignored.

    Args:
        folder: the folder.
        classes: a text file with one name per line, in the order of the labels from 0.
        left_out: entries that the search leaves out are added; without it they are logged.

    Returns:
        The images, class by class, and {class: name of its folder}.

    Raises:
        InputError: no sub-folder, one that is not in the list, two that mean the same number, a
            link to nothing, or no image in any of them.

    """
    folder = Path(folder)
    names = _class_folders(folder, classes)
    stray = _stray(folder)
    if left_out is None:
        log_left_out(stray)
    else:
        left_out += stray
    items = [
        LabeledImage(path, label)
        for label, name in names.items()
        for path in _search(folder / name, left_out)
    ]
    if not items:
        raise InputError(
            f"{str(folder)!r} has no images in sub-folders; expected one sub-folder per class, or "
            "a table of labels (--labels FILE.csv, in plans and Python: labels)"
        )
    return items, names


def read_class_names(path: str | Path) -> list[str]:
    """Read names of classes, one per line, in the order of the labels from 0.

    Raises:
        InputError: the file cannot be read, has an empty line, or a name comes twice.

    """
    try:
        names = Path(path).read_text(encoding="utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the class names in {str(path)!r}: {error}") from error
    names = [name.strip() for name in names]
    first: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        if not name or first.setdefault(name, line) != line:
            problem = f"{_short(name)} came before in line {first[name]}" if name else "no name"
            raise InputError(f"{path}, line {line}: {problem}; expected a new name on each line")
    return names


def _numbering(names: Mapping[int, str]) -> str:
    rows = [f"{label} is {name}" for label, name in names.items()]
    shown = rows if len(rows) <= 4 else [*rows[:3], "…", rows[-1]]
    return (
        f"classes are numbered by the alphabetical order of their folders ({', '.join(shown)}); "
        "--classes FILE gives the order of the model"
    )


def _stray(folder: Path) -> list[LeftOut]:
    """Images beside the sub-folders, which have no class."""
    scan = scan_images(folder, recursive=False)
    reason = "an image beside the sub-folders has no class"
    return [LeftOut(file.path, reason, lost=False) for file in scan.files] + [
        left for left in scan.left_out if left.path.suffix.lower() in SUFFIXES
    ]


def _class_folders(folder: Path, classes: str | Path | None) -> dict[int, str]:
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder; expected one sub-folder per class")
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in entries:
        image = path.suffix.lower() in SUFFIXES
        if path.is_symlink() and not image and not path.exists():
            # without it other classes get its number
            raise InputError(f"{str(path)!r} is a link to nothing; mend or remove it")
    found = sorted(path.name for path in entries if path.is_dir())
    if classes is not None:
        return _listed(folder, found, read_class_names(classes), classes)
    if not all(name.isdecimal() for name in found):
        names = dict(enumerate(found))
        _log.info("%s", _numbering(names))
        return names
    names = {int(name): name for name in sorted(found, key=int)}
    if names and max(names) >= _MOST:
        raise InputError(
            f"{str(folder)!r}: the sub-folder {names[max(names)]!r} is too large a class number; "
            f"expected below {_MOST}"
        )
    if len(names) < len(found):
        raise InputError(f"{str(folder)!r}: two sub-folders have the same number; rename one")
    return names


def _listed(
    folder: Path, found: Sequence[str], names: Sequence[str], source: str | Path
) -> dict[int, str]:
    """Sub-folders by the places of their names in a list."""
    known, here = set(names), set(found)
    if unknown := [name for name in found if name not in known]:
        raise InputError(
            f"{len(unknown)} of the {len(found)} sub-folders of {str(folder)!r} are not in "
            f"{str(source)!r}, such as {', '.join(unknown[:3])}; expected their names there, one "
            "per line in the order of the labels"
        )
    return {label: name for label, name in enumerate(names) if name in here}
