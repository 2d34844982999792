"""Answers about defended images of another size, brought back into the images' own frames."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32
from nrpurify.defenses.chain import Chain
from nrpurify.defenses.rp import RandomPad

Place = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""
_PER_DETECTION = ("scores", "labels", "keypoints_scores")
"""What torchvision's detectors say that has no place in the image."""


@dataclass(frozen=True)
class Frame:
    """An image and what a defense made of it.

    Attributes:
        size: Height and width of the image in pixels.
        shown: Those of the defended image.
        place: Where the image lies in the defended one; None where that is not known.
    """

    size: tuple[int, int]
    shown: tuple[int, int]
    place: Place | None

    @classmethod
    def still(cls, image: Tensor) -> Frame:
        """That of an image ...×H×W whose pixels stay in their places."""
        height, width = image.shape[-2:]
        return cls((height, width), (height, width), (0, 0, width, height))

    @property
    def moved(self) -> bool:
        """Whether pixels of the two differ in their places."""
        return self.size != self.shown or not self.whole

    @property
    def whole(self) -> bool:
        """Whether the image fills the defended one."""
        return self.place == (0, 0, self.shown[1], self.shown[0])

    def known(self) -> Place:
        """The place.

        Raises:
            InputError: It is not known.
        """
        if self.place is None:
            raise InputError(
                "the defense pads at random inside another module, so the model's answer cannot "
                "be brought back to the image; give rp itself, a chain of it, or a defense that "
                "keeps the size"
            )
        return self.place

    def points(self, places: Tensor) -> Tensor:
        """Bring ...×2 places (x, y), in pixels of the defended image, to pixels of the image."""
        left, top, right, bottom = self.known()
        height, width = self.size
        scale = places.new_tensor([width / (right - left), height / (bottom - top)])
        return (places - places.new_tensor([left, top])) * scale

    def boxes(self, boxes: Tensor) -> Tensor:
        """Bring K×4 boxes (left, top, right, bottom) to the image, cut at its border."""
        sides = boxes.new_tensor([self.size[1], self.size[0]] * 2)
        moved = self.points(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        return torch.minimum(moved.clamp(min=0), sides)

    def pixels(self, values: Tensor) -> Tensor:
        """Bring ...×h×w values of the defended image's pixels to ...×H×W of the image's.

        Real numbers are resized bilinearly; classes and booleans come from the nearest pixel.
        """
        left, top, right, bottom = self.known()
        cut = values[..., top:bottom, left:right].reshape(-1, 1, bottom - top, right - left)
        if values.is_floating_point():
            found = F.interpolate(at_least_fp32(cut), self.size, mode="bilinear")
        else:
            found = F.interpolate(cut.double(), self.size, mode="nearest-exact")
        return found.to(values.dtype).reshape(*values.shape[:-2], *self.size)


def pads(defense: nn.Module) -> bool:
    """Whether a defense puts images into larger frames, at places of its own."""
    return any(isinstance(module, RandomPad) for module in defense.modules())


def defend(defense: nn.Module, images: Tensor) -> tuple[Tensor, list[Frame]]:
    """Defended images, and the frame of each; none where no pixel moves.

    A defense that changes the size and does not pad is taken to resize the whole image.

    Args:
        defense: Maps N×3×H×W images in [0, 1] to N×3×h×w.
        images: N×3×H×W in [0, 1].
    """
    if not pads(defense):
        defended = defense(images)
        if defended.shape[-2:] == images.shape[-2:]:
            return defended, []
        height, width = defended.shape[-2:]
        return defended, _frames(images, defended, [(0, 0, width, height)] * len(images))
    defended, shares = _follow(defense, images)
    if shares is None:
        return defended, _frames(images, defended, [None] * len(images))
    height, width = defended.shape[-2:]
    corners = (shares * shares.new_tensor([width, height] * 2)).round().int().tolist()
    return defended, _frames(images, defended, [(a, b, c, d) for a, b, c, d in corners])


def _frames(images: Tensor, defended: Tensor, places: Sequence[Place | None]) -> list[Frame]:
    (height, width), (h, w) = images.shape[-2:], defended.shape[-2:]
    return [Frame((height, width), (h, w), place) for place in places]


def _follow(defense: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Defended images, and where each lies in its own, N×4 in shares of the sides, if known."""
    if isinstance(defense, RandomPad):
        return _follow_padding(defense, images)
    shares: Tensor | None = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).double().repeat(len(images), 1)
    if not isinstance(defense, Chain):
        return defense(images), None if pads(defense) else shares
    for part in defense:
        images, inner = _follow(part, images)
        shares = None if shares is None or inner is None else _within(shares, inner)
    return images, shares


def _within(outer: Tensor, inner: Tensor) -> Tensor:
    """Places in a frame that itself lies at ``inner`` in another, in shares of the other."""
    corner, sides = inner[:, :2], inner[:, 2:] - inner[:, :2]
    return (corner[:, None] + outer.reshape(-1, 2, 2) * sides[:, None]).reshape(-1, 4)


def _follow_padding(defense: RandomPad, images: Tensor) -> tuple[Tensor, Tensor]:
    draws = [defense.draw() for _ in images]
    corners = [(left, top, left + side, top + side) for side, left, top in draws]
    places = torch.tensor(corners, device="cpu").double().reshape(-1, 4)
    return defense(images, draws), places / defense.high


def bring_back(answer: Any, frames: Sequence[Frame]) -> Any:
    """A model's answer about defended images, in the frames of the images.

    Detections (a list of dicts with ``boxes``, one an image) are brought back with their masks and
    keypoints, and so are values of each pixel (...×h×w, alone or in a dict). N×classes stays.

    Args:
        answer: Whatever the model returned.
        frames: One an image.

    Raises:
        InputError: Something of which it is not known where it lies in the image.
    """
    if not any(frame.moved for frame in frames):
        return answer
    if isinstance(answer, Tensor):
        return _tensor(answer, frames)
    if isinstance(answer, dict):
        return _changed(answer, {key: _tensor(value, frames) for key, value in answer.items()})
    if not isinstance(answer, list | tuple) or len(answer) != len(frames):
        raise _unknown(answer, frames)
    return [_detections(found, frame, frames) for found, frame in zip(answer, frames, strict=True)]


def _changed(answer: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A dict of the same kind with other values."""
    found = copy.copy(answer)
    for key, value in values.items():
        found[key] = value
    return found


def _tensor(values: Any, frames: Sequence[Frame]) -> Tensor:
    if not isinstance(values, Tensor) or values.ndim == 0 or len(values) != len(frames):
        raise _unknown(values, frames)
    if values.ndim <= 2:
        return values
    if all(values.shape[-2:] == frame.shown for frame in frames):
        pairs = zip(values, frames, strict=True)
        found = [frame.pixels(value) for value, frame in pairs]
        if len({one.shape for one in found}) == 1:
            return torch.stack(found)
    elif values.ndim == 4 and all(frame.whole for frame in frames):
        return values  # a coarser map of the whole image
    raise _unknown(values, frames)


def _detections(found: Any, frame: Frame, frames: Sequence[Frame]) -> dict[str, Any]:
    if not isinstance(found, dict) or "boxes" not in found:
        raise _unknown(found, frames)
    values = {}
    for key, value in found.items():
        if key == "boxes":
            values[key] = frame.boxes(value)
        elif key == "keypoints":
            values[key] = torch.cat([frame.points(value[..., :2]), value[..., 2:]], -1)
        elif key == "masks" and value.shape[-2:] == frame.shown:
            values[key] = frame.pixels(value)
        elif key in _PER_DETECTION or (isinstance(value, Tensor) and value.ndim <= 1):
            values[key] = value
        else:
            raise _unknown({key: value}, frames)
    return _changed(found, values)


def _unknown(answer: Any, frames: Sequence[Frame]) -> InputError:
    size, shown = next((frame.size, frame.shown) for frame in frames if frame.moved)
    return InputError(
        f"the model returned {_described(answer)} for {shown[0]}×{shown[1]} pixels that the "
        f"defense made of {size[0]}×{size[1]}: where that lies in the image is not known; expected "
        "N×classes, values of each pixel, or a list of dicts of boxes (masks, keypoints) an image. "
        "Give a defense that keeps the size"
    )


def _described(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor {'×'.join(map(str, answer.shape))}" if answer.ndim else "a single number"
    if isinstance(answer, dict):
        return f"a dict of {', '.join(map(str, answer)) or 'nothing'}"
    return f"a {type(answer).__name__}"
