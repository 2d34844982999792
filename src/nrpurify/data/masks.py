"""Folders of images and class masks, such as CamVid's; what is wrong with them has a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PilImage
from torch import Tensor

from nrpurify.core.decoding import raw_mode
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.image_files import find_images
from nrpurify.core.images import read_image
from nrpurify.core.opening import open_picture
from nrpurify.models.segmenters import CAMVID_CLASSES

IGNORED = -1
"""The value of void pixels in the masks that this module returns."""


@dataclass(frozen=True)
class ClassTable:
    """What the values of a mask mean.

    Attributes:
        names: Names of the classes; a mask's value k is class k.
        void: Values that belong to no class and are ignored.
        colors: For color masks: the value (class or void) of each (red, green, blue), 0 to 255.
    """

    names: tuple[str, ...]
    void: tuple[int, ...] = ()
    colors: Mapping[tuple[int, int, int], int] = field(default_factory=dict)


CAMVID = ClassTable(
    names=CAMVID_CLASSES,
    void=(11,),
    colors={
        (128, 128, 128): 0,
        (128, 0, 0): 1,
        (192, 192, 128): 2,
        (128, 64, 128): 3,
        (0, 0, 192): 4,
        (128, 128, 0): 5,
        (192, 128, 128): 6,
        (64, 64, 128): 7,
        (64, 0, 128): 8,
        (64, 64, 0): 9,
        (0, 128, 192): 10,
        (0, 0, 0): 11,
    },
)
"""CamVid's 11 classes in the usual order, 11 for void (Brostow et al., 2009)."""


@dataclass(frozen=True)
class Problem:
    """Something that keeps a file out of the metric.

    Attributes:
        kind: ``image without mask``, ``mask without image``, ``wrong size``, ``unknown value`` or
            ``unreadable``.
        name: The file, relative to its folder.
        text: What was given and what was expected.
    """

    kind: str
    name: str
    text: str


def count_problems(problems: Sequence[Problem]) -> dict[str, int]:
    """How many files each kind of problem keeps out."""
    return dict(Counter(problem.kind for problem in problems))


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file; ``name`` is the image's place below its folder."""

    name: str
    image: Path
    mask: Path


def find_pairs(images: str | Path, masks: str | Path) -> tuple[list[Pair], list[Problem]]:
    """Match images with masks by their place and name without suffix; ``a_L.png`` suits ``a.png``.

    Returns:
        The pairs, sorted by name, and the files that have no partner.

    Raises:
        InputError: A folder does not exist or holds no image, two files have one name, or no file
            has a partner.
    """
    pictures, labels = _by_stem(images), _by_stem(masks)
    labels = _renamed(labels, pictures)
    pairs = [
        Pair(pictures[stem].relative_to(images).as_posix(), pictures[stem], labels[stem])
        for stem in sorted(pictures.keys() & labels.keys())
    ]
    if not pairs:
        raise InputError(
            f"no mask in {str(masks)!r} has the name of an image in {str(images)!r}; expected "
            "the same names but for the suffix"
        )
    lonely = [
        *_lonely(pictures, labels, "image without mask", images, masks),
        *_lonely(labels, pictures, "mask without image", masks, images),
    ]
    return pairs, lonely


def _by_stem(folder: str | Path) -> dict[str, Path]:
    if not Path(folder).is_dir():
        raise InputError(f"{str(folder)!r} is no folder; expected one of images or masks")
    found: dict[str, Path] = {}
    for file in find_images(folder, recursive=True):
        stem = file.relative.with_suffix("").as_posix()
        if stem in found:
            raise InputError(
                f"{str(file.path)!r} and {found[stem].name!r} have one name; rename one of them"
            )
        found[stem] = file.path
    return found


def _renamed(labels: Mapping[str, Path], pictures: Mapping[str, Path]) -> dict[str, Path]:
    """Masks by the names of their images."""
    found: dict[str, Path] = {}
    for stem, path in labels.items():
        if (other := found.setdefault(_plain(stem, pictures), path)) != path:
            raise InputError(
                f"{str(other)!r} and {str(path)!r} are masks of one image; keep one of them"
            )
    return found


def _plain(stem: str, pictures: Mapping[str, Path]) -> str:
    short = stem.removesuffix("_L")
    return short if stem not in pictures and short in pictures else stem


def _lonely(
    here: Mapping[str, Path],
    there: Mapping[str, Path],
    kind: str,
    own: str | Path,
    other: str | Path,
) -> list[Problem]:
    lonely = [here[stem] for stem in sorted(here.keys() - there.keys())]
    return [
        Problem(
            kind,
            path.relative_to(own).as_posix(),
            f"{str(path)!r} has no partner in {str(other)!r}",
        )
        for path in lonely
    ]


class MaskError(ImageError):
    """A mask that cannot be used; ``kind`` is that of :class:`Problem`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def read_mask(path: str | Path, table: ClassTable, size: tuple[int, int]) -> Tensor:
    """Read a class mask: int64 H×W with classes from 0, and :data:`IGNORED` for void.

    Grey masks hold values; palette masks hold indices that are values; color masks are looked up
    in the table's colors, and one with three equal channels is read as grey where it has none.

    Args:
        path: The file.
        table: What values mean.
        size: Height and width of the image; compared before a pixel is decoded.

    Raises:
        MaskError: Unreadable, of another size, or with values that the table does not know.
    """
    path = Path(path)
    try:
        with open_picture(path) as picture:
            if (picture.height, picture.width) != size:
                raise MaskError(
                    "wrong size",
                    f"{str(path)!r} is {picture.width}×{picture.height} pixels; its image is "
                    f"{size[1]}×{size[0]}",
                )
            values = _values(picture, table)
    except MaskError:
        raise
    except ImageError as error:
        raise MaskError("unreadable", str(error)) from error
    except Exception as error:  # on broken data, decoders raise nearly anything
        raise MaskError("unreadable", f"cannot read {str(path)!r}: {error}") from error
    return _classes(values, table, path)


def _values(picture: PilImage.Image, table: ClassTable) -> npt.NDArray[np.int64]:
    levels = {"L;2": 85, "L;4": 17}.get(raw_mode(picture), 1)  # Pillow makes 8 bits of them
    if picture.mode in ("1", "L", "P") or picture.mode.startswith("I"):
        return np.array(picture).astype(np.int64) // levels
    rgb = np.array(picture.convert("RGB")).astype(np.int64)
    if not table.colors or (_is_grey(rgb) and not _all_known(rgb, table)):
        return rgb[..., 0] if _is_grey(rgb) else _code(rgb)
    codes = {int(_code(np.array(color))): value for color, value in table.colors.items()}
    found, places = np.unique(_code(rgb), return_inverse=True)
    known = np.array([codes.get(int(code), -int(code) - 1) for code in found])
    values: npt.NDArray[np.int64] = known[places.reshape(rgb.shape[:2])]
    return values


def _is_grey(rgb: npt.NDArray[np.int64]) -> bool:
    return bool((rgb == rgb[..., :1]).all())


def _all_known(rgb: npt.NDArray[np.int64], table: ClassTable) -> bool:
    return {tuple(map(int, c)) for c in np.unique(rgb.reshape(-1, 3), axis=0)} <= set(table.colors)


def _code(rgb: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    code: npt.NDArray[np.int64] = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    return code


def _classes(values: npt.NDArray[np.int64], table: ClassTable, path: Path) -> Tensor:
    void = np.isin(values, table.void)
    unknown = values[~void & ((values < 0) | (values >= len(table.names)))]
    if unknown.size:
        of_void = ", ".join(map(str, table.void))
        raise MaskError(
            "unknown value",
            f"{str(path)!r} has {unknown.size} pixels of unknown classes, such as "
            f"{_shown(int(unknown[0]))}; expected 0 to {len(table.names) - 1}, or for "
            f"void {of_void}",
        )
    return torch.from_numpy(np.where(void, IGNORED, values))


def _shown(value: int) -> str:
    return f"the color #{-value - 1:06x}" if value < 0 else str(value)


@dataclass(frozen=True)
class Sample:
    """A 3×H×W image in [0, 1] with its int64 H×W mask; void is :data:`IGNORED`."""

    name: str
    image: Tensor
    mask: Tensor


def read_sample(pair: Pair, table: ClassTable = CAMVID) -> Sample | Problem:
    """Read one pair, or say what is wrong with it."""
    try:
        image = read_image(pair.image).rgb
        return Sample(
            pair.name, image, read_mask(pair.mask, table, (image.shape[1], image.shape[2]))
        )
    except MaskError as error:
        return Problem(error.kind, pair.name, str(error))
    except ImageError as error:
        return Problem("unreadable", pair.name, str(error))
