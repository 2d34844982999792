"""What models see in images, as pictures and in words, readable on any background."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont
from torch import Tensor

from nrpurify.core.images import to_picture
from nrpurify.models.detectors.boxes import Detections
from nrpurify.models.detectors.categories import COCO_CATEGORIES

MAX_SIDE = 640
"""Pixels of the longer side of a picture for a report."""
SURE = 0.5
"""Least score of a detection that is drawn, and least value of a pixel in its mask."""
_BLACK = (0, 0, 0)
_GOLDEN = 0.618034


def color(index: int) -> tuple[int, int, int]:
    """A light color for a class, on which black text can be read; neighbors differ in hue."""
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1, 0.55, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def fitted(image: Tensor, side: int = MAX_SIDE) -> Tensor:
    """A 3×H×W image in [0, 1], scaled down until no side has more than ``side`` pixels."""
    height, width = image.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = [max(1, round(scale * height)), max(1, round(scale * width))]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def with_boxes(image: Tensor, boxes: Tensor, texts: Sequence[str], kinds: Sequence[int]) -> Tensor:
    """Draw boxes, each with its text on a tag.

    Args:
        image: 3×H×W in [0, 1].
        boxes: K×4: left, top, right, bottom in pixels.
        texts: What the K tags say; the first lie on top.
        kinds: A number for each; same number, same color.

    Returns:
        A copy with them, on the CPU.
    """
    picture = to_picture(image.float())
    draw, line = ImageDraw.Draw(picture), max(2, max(picture.size) // 240)
    rows = list(zip(boxes.tolist(), texts, kinds, strict=True))[::-1]
    for (left, top, right, bottom), _, kind in rows:
        corners = (left, top, max(left, right - 1), max(top, bottom - 1))
        draw.rectangle(corners, outline=_BLACK, width=line + 2)
        inside = (left + 1, top + 1, max(left + 1, right - 2), max(top + 1, bottom - 2))
        draw.rectangle(inside, outline=color(kind), width=line)
    for (left, top, _, _), text, kind in rows:
        _tag(draw, picture.size, (left, top), text, color(kind))
    return _to_tensor(picture)


def with_masks(image: Tensor, masks: Tensor, kinds: Sequence[int]) -> Tensor:
    """Tint K×H×W boolean masks of objects on a 3×H×W image in [0, 1]; returns a copy on the CPU."""
    tinted = image.detach().float().cpu().clone()
    for mask, kind in zip(masks.cpu(), kinds, strict=True):
        shade = torch.tensor(color(kind)).view(3, 1, 1) / 255
        tinted = torch.where(mask, 0.5 * tinted + 0.5 * shade, tinted)
    return tinted


def with_classes(
    image: Tensor, classes: Tensor, names: Sequence[str], least: float = 0.02
) -> Tensor:
    """Tint each pixel by its class, and name the classes on the picture.

    Args:
        image: 3×H×W in [0, 1].
        classes: H×W, from 0.
        names: Of the classes.
        least: Classes on a smaller share of the pixels get no tag.

    Returns:
        A copy on the CPU.
    """
    classes = classes.cpu()
    present = classes.flatten().bincount().nonzero()[:, 0].tolist()
    tinted = with_masks(image, torch.stack([classes == k for k in present]), present)
    picture = to_picture(tinted)
    draw = ImageDraw.Draw(picture)
    for k in present:
        where = (classes == k).nonzero().float()
        if len(where) >= least * classes.numel():
            middle = where[(where - where.mean(0)).square().sum(1).argmin()]
            place = (float(middle[1]), float(middle[0]))
            _tag(draw, picture.size, place, names[k], color(k))
    return _to_tensor(picture)


def _tag(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    place: tuple[float, float],
    text: str,
    fill: tuple[int, int, int],
) -> None:
    """Black text on ``fill``, moved into the picture."""
    font = ImageFont.load_default(max(11, max(size) // 34))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    wide, high = right - left + 6, bottom - top + 6
    x = min(max(0.0, place[0]), max(0.0, size[0] - wide))
    y = min(max(0.0, place[1]), max(0.0, size[1] - high))
    draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=fill, outline=_BLACK)
    draw.text((x + 3 - left, y + 3 - top), text, fill=_BLACK, font=font)


def _to_tensor(picture: PilImage.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def category(label: int) -> str:
    """The name of a COCO category id, or the id itself where there is none."""
    return COCO_CATEGORIES.get(label, str(label))


def counted(labels: Iterable[int]) -> str:
    """Category ids in words, such as ``2 person, 1 dog``; ``nothing`` without any."""
    found = Counter(category(label) for label in labels)
    return ", ".join(f"{number} {name}" for name, number in found.items()) or "nothing"


def detection_picture(image: Tensor, found: Detections, sure: float = SURE) -> tuple[Tensor, str]:
    """Boxes (and masks) with names and scores on a 3×H×W image, and what they are in words.

    Args:
        image: In [0, 1].
        found: One image's detections.
        sure: Least score of a detection that is drawn.
    """
    kept = found["scores"] >= sure
    chosen = {key: values[kept].cpu() for key, values in found.items()}
    picture, labels = fitted(image), chosen["labels"].tolist()
    if "masks" in chosen and labels:
        grown = F.interpolate(chosen["masks"].float(), picture.shape[-2:], mode="nearest-exact")
        picture = with_masks(picture, grown[:, 0] >= SURE, labels)
    boxes = chosen["boxes"] * (picture.shape[-1] / image.shape[-1])
    scores = chosen["scores"].tolist()
    texts = [f"{category(k)} {score:.2f}" for k, score in zip(labels, scores, strict=True)]
    return with_boxes(picture, boxes, texts, labels), counted(labels)


def class_picture(image: Tensor, classes: Tensor, names: tuple[str, ...]) -> Tensor:
    """A 3×H×W image tinted by the H×W classes of its pixels."""
    picture = fitted(image)
    grown = F.interpolate(classes[None, None].float(), picture.shape[-2:], mode="nearest-exact")
    return with_classes(picture, grown[0, 0].long(), names)


def shares(classes: Tensor, names: tuple[str, ...], most: int = 3) -> str:
    """The largest classes of H×W pixels, negative ones ignored: ``mostly road 61%, sky 30%``."""
    counts = classes[classes >= 0].bincount(minlength=len(names))
    largest = counts.argsort(descending=True, stable=True)[:most].tolist()
    parts = [f"{names[k]} {counts[k] / counts.sum():.0%}" for k in largest if counts[k]]
    return f"mostly {', '.join(parts)}" if parts else "nothing"
