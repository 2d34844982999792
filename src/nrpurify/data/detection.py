"""Images with the objects in them: what detection is evaluated on, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.core.decoding import is_sideways
from nrpurify.core.errors import ImageError
from nrpurify.core.images import read_image
from nrpurify.core.opening import open_picture
from nrpurify.data.masks_rle import Outline, draw_outlines

_SLACK = 1.0


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of one image.

    Attributes:
        boxes: K×4 float32: left, top, right, bottom in pixels, inside the image.
        labels: K category ids.
        crowd: K booleans: regions of many objects, which no detection is held against.
        masks: K×H×W booleans, or None.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """An image file and its objects, in the frame of the upright image.

    Attributes:
        path: The file.
        name: Its place below the folder of images.
        height: Of the image in pixels.
        width: Of the image in pixels.
        boxes: K×4 float32, see :class:`Truth`.
        labels: K category ids.
        crowd: K booleans.
        outlines: One an object, or None unless every object has one.
    """

    path: Path
    name: str
    height: int
    width: int
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    outlines: Sequence[Outline] | None = None

    def read(self, longest: int | None = None, *, masks: bool = False) -> tuple[Tensor, Truth]:
        """The image as 1×3×H×W in [0, 1], and its objects in the same frame.

        Args:
            longest: Images whose longer side has more pixels are scaled down to it (antialiased).
            masks: Give the objects' masks too; without outlines there are none.

        Raises:
            ImageError: The file is broken.
            MissingExtraError: Masks are asked for and faster-coco-eval is not installed.
        """
        image = read_image(self.path).rgb[None]
        drawn = draw_outlines(self.outlines, self.height, self.width) if masks else None
        scale = 1.0 if longest is None else min(1.0, longest / max(self.height, self.width))
        if scale < 1:
            size = [max(1, round(side * scale)) for side in (self.height, self.width)]
            image = F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1)
            drawn = None if drawn is None else _resize_masks(drawn, size)
        factors = [image.shape[3] / self.width, image.shape[2] / self.height] * 2
        boxes = self.boxes * torch.tensor(factors)
        return image, Truth(boxes, self.labels, self.crowd, drawn)


def _resize_masks(masks: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(masks[:, None].float(), size, mode="nearest-exact")[:, 0].bool()


@dataclass
class Problems:
    """What was wrong with annotations, by kind; nothing is left out without being counted here."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        """Count one case of ``kind``, naming it; what is no Unicode in a name is escaped."""
        self.found.setdefault(kind, []).append(what.encode(errors="backslashreplace").decode())

    def count(self, kind: str) -> int:
        """How many cases of ``kind`` there are."""
        return len(self.found.get(kind, []))

    def lines(self, named: int = 3) -> list[str]:
        """One line a kind: the count, and the first ``named`` cases by name."""
        return [
            f"{len(cases)} × {kind}: {'; '.join(cases[:named])}"
            + (f"; and {len(cases) - named} more" if len(cases) > named else "")
            for kind, cases in self.found.items()
        ]


@dataclass
class Scenes:
    """What a reader found: the scenes, and the problems on the way."""

    items: list[Scene]
    problems: Problems


BROKEN = "broken image"
"""The kind of problem of an image that cannot be read."""


def readable(scenes: Scenes) -> Scenes:
    """The scenes whose images can be decoded; the others are counted and named in the problems.

    The readers look at headers only, so a truncated file would end an evaluation after minutes.
    """
    problems = Problems({kind: list(cases) for kind, cases in scenes.problems.found.items()})
    items = []
    for scene in scenes.items:
        try:
            read_image(scene.path)
        except ImageError as error:
            problems.add(BROKEN, str(error))
        else:
            items.append(scene)
    return Scenes(items, problems)


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file as :func:`nrpurify.core.images.read_image` turns it.

    Only of a TIFF that lies on its side are pixels decoded: versions of Pillow differ in whether
    its size is that before it is turned or behind. An animation has the size of its first frame.

    Raises:
        ImageError: The file is missing or broken.
    """
    try:
        with open_picture(path, frames="first") as picture:
            if is_sideways(picture) and picture.format == "TIFF":
                picture.load()
            width, height = picture.size
            sideways = is_sideways(picture)
    except ImageError:
        raise
    except Exception as error:  # on broken data, decoders raise nearly anything
        raise ImageError(f"cannot read {str(path)!r}: {error}") from error
    return (width, height) if sideways else (height, width)


class SceneBuilder:
    """Collects the objects of one image, counting what cannot be used.

    Args:
        path: The image file.
        problems: Where to count.
        name: See :class:`Scene`; by default the file's own.
    """

    def __init__(self, path: Path, problems: Problems, name: str | None = None) -> None:
        self.path, self.problems, self.name = path, problems, name or path.name
        self.height, self.width = upright_size(path)
        self._objects: list[tuple[list[float], int, bool, Outline | None]] = []

    def add(
        self,
        box: Sequence[float],
        label: int,
        *,
        crowd: bool = False,
        outline: Outline | None = None,
    ) -> None:
        """Add an object; its ``box`` (left, top, right, bottom in pixels) is cut to the image."""
        place = f"{self.name} {[round(side, 1) for side in box]}"
        sides = (self.width, self.height, self.width, self.height)
        cut = [min(max(value, 0.0), float(side)) for value, side in zip(box, sides, strict=True)]
        if not (cut[0] < cut[2] and cut[1] < cut[3]):
            self.problems.add("object left out, its box is empty or outside the image", place)
            return
        if max(abs(a - b) for a, b in zip(box, cut, strict=True)) > _SLACK:
            self.problems.add("box cut to the image", place)
        self._objects.append((cut, label, crowd, outline))

    def build(self) -> Scene:
        """The scene; one without objects stays, and is counted."""
        if not self._objects:
            self.problems.add("image without objects", self.name)
        boxes, labels, crowd, outlines = (
            zip(*self._objects, strict=True) if self._objects else ((), (), (), ())
        )
        return Scene(
            self.path,
            self.name,
            self.height,
            self.width,
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(crowd, dtype=torch.bool),
            None if None in outlines else outlines,
        )
