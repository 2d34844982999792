"""Where an attack starts: the transformation R of Algorithm 1.

Noise is drawn image after image, on the CPU: the same generator gives the same noise whatever the
batch size and the device. The noise is that of the ℓ∞ ball; an ℓ2 ball's projection puts it on the
sphere, next to which nearly all points of a ball of so many dimensions lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from nrpurify.attacks.constraints import Eps
from nrpurify.core.errors import InputError
from nrpurify.core.random import check_generator

Start = Callable[[Tensor, Eps, Generator | None], Tensor]
GeneratorLike = Generator | Sequence[Generator] | None
"""One CPU generator, one for each image, or None for torch's own."""


def _beside(images: Tensor, eps: Eps) -> Tensor:
    values = torch.as_tensor(eps, dtype=images.dtype, device=images.device).reshape(-1)
    return values.expand(len(images)).view(-1, 1, 1, 1)


def _draw(images: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    noise = torch.stack([draw(torch.empty(images.shape[1:], device="cpu")) for _ in images])
    return noise.to(images)


def clean(images: Tensor, eps: Eps, generator: Generator | None = None) -> Tensor:
    """The images themselves."""
    return images


def uniform(images: Tensor, eps: Eps, generator: Generator | None = None) -> Tensor:
    """Images plus U(-eps, eps) noise: "a random step at the first iteration" (Sec. 3.1)."""
    noise = _draw(images, lambda x: x.uniform_(-1, 1, generator=generator))
    return images + _beside(images, eps) * noise


def sign(images: Tensor, eps: Eps, generator: Generator | None = None) -> Tensor:
    """Images plus eps times a random sign a value (R-FGSM, Tramèr et al., 2018)."""
    noise = _draw(images, lambda x: x.normal_(generator=generator))
    return images + _beside(images, eps) * noise.sign()


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


def check_generators(source: GeneratorLike, count: int) -> None:
    """Check what a caller gave for ``count`` images, without a draw.

    Raises:
        InputError: The number of generators is not ``count``, or one is not on the CPU.
    """
    if isinstance(source, Sequence) and len(source) != count:
        raise InputError(f"{len(source)} generators for {count} images; expected one each")
    for one in source if isinstance(source, Sequence) else [source]:
        check_generator(one)


def per_image(source: GeneratorLike, count: int) -> list[Generator]:
    """A generator for each of ``count`` images.

    One generator gives a seed for each image, so that images get the same together and one by one.

    Raises:
        InputError: The number of generators is not ``count``, or one is not on the CPU.
    """
    check_generators(source, count)
    if isinstance(source, Sequence):
        return list(source)
    draws = (torch.randint(2**62, (), generator=source, device="cpu") for _ in range(count))
    return [Generator().manual_seed(int(seed)) for seed in draws]


def start_each(
    start: str | Start, images: Tensor, eps: Eps, generators: Sequence[Generator]
) -> Tensor:
    """The start, by name or itself, for N×3×H×W images, each with its own generator."""
    radii = _beside(images, eps).flatten()
    draw = resolve_start(start)
    rows = zip(torch.split(images, 1), radii, generators, strict=True)
    return torch.cat([draw(image, radius, generator) for image, radius, generator in rows])
