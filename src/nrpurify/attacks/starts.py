"""Where an attack starts: the transformation R of Algorithm 1.

Noise is drawn image after image, on the CPU: the same generator gives the same noise whatever the
batch size and the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from nrpurify.attacks.box import Eps, per_sample
from nrpurify.core.errors import InputError

Start = Callable[[Tensor, Eps, Generator | None], Tensor]


def _draw(images: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    noise = torch.stack([draw(torch.empty(images.shape[1:], device="cpu")) for _ in images])
    return noise.to(images)


def clean(images: Tensor, eps: Eps, generator: Generator | None = None) -> Tensor:
    """The images themselves."""
    return images


def uniform(images: Tensor, eps: Eps, generator: Generator | None = None) -> Tensor:
    """Images plus U(-eps, eps) noise: "a random step at the first iteration" (Sec. 3.1)."""
    noise = _draw(images, lambda x: x.uniform_(-1, 1, generator=generator))
    return images + per_sample(eps, images) * noise


def sign(images: Tensor, eps: Eps, generator: Generator | None = None) -> Tensor:
    """Images plus eps times a random sign a value (R-FGSM, Tramèr et al., 2018)."""
    noise = _draw(images, lambda x: x.normal_(generator=generator))
    return images + per_sample(eps, images) * noise.sign()


def gaussian(images: Tensor, eps: Eps, generator: Generator | None = None) -> Tensor:
    """Standard normal noise in place of the images, as the paper's published script starts.

    Once projected, nearly every pixel lies on a face of the eps-box.
    """
    return _draw(images, lambda x: x.normal_(generator=generator))


STARTS: dict[str, Start] = {
    "clean": clean,
    "uniform": uniform,
    "gaussian": gaussian,
    "sign": sign,
}


def resolve_start(start: str | Start) -> Start:
    """Look a start up by name; a callable ``(images, eps, generator) -> images`` is kept.

    Raises:
        InputError: No such name.
    """
    if callable(start):
        return start
    if start not in STARTS:
        raise InputError(f"no start {start!r}; expected one of {', '.join(STARTS)} or a callable")
    return STARTS[start]
