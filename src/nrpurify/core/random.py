"""The one way from a seed to a generator, and single numbers drawn from one on the CPU."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator

from nrpurify.core.errors import InputError


def derive_seed(seed: int, purpose: str, image: str = "") -> int:
    """A seed that depends on nothing but its arguments, so that no two draws go in step.

    Args:
        seed: Of the run.
        purpose: Such as ``attack``, or ``defense`` and its spec.
        image: What identifies the image: its :func:`nrpurify.core.hashing.pixels_hash`, or the
            relative path of its file.
    """
    parts = (seed, purpose, image) if image else (seed, purpose)
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def derive_generator(seed: int, purpose: str, image: str = "") -> Generator:
    """A CPU generator with a :func:`derive_seed`."""
    return Generator().manual_seed(derive_seed(seed, purpose, image))


def check_generator(generator: object) -> None:
    """Check what a caller gave as ``generator``.

    Raises:
        InputError: It is neither None nor a generator on the CPU.
    """
    if generator is None or (isinstance(generator, Generator) and generator.device.type == "cpu"):
        return
    given = f"{generator!r}, of type {type(generator).__name__}"
    if isinstance(generator, Generator):
        given = f"on {generator.device}"
    seed = generator if isinstance(generator, int) else 0
    raise InputError(
        f"generator is {given}; expected a generator on the CPU, such as "
        f"torch.Generator().manual_seed({seed})"
    )


def random_integer(low: int, high: int, generator: Generator | None) -> int:
    """An integer in [low, high]."""
    return int(torch.randint(low, high + 1, (), generator=generator, device="cpu"))


def uniform(low: float, high: float, generator: Generator | None) -> float:
    """A number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, device="cpu"))


def chance(probability: float, generator: Generator | None) -> bool:
    """True with that probability."""
    return uniform(0, 1, generator) < probability


def seeded(*numbers: int) -> Generator:
    """A CPU generator whose state is a function of ``numbers`` alone, such as seed and step.

    Training uses it at each step, so it must not change: runs on disk go on with the same draws.
    """
    generator = torch.Generator().manual_seed(numbers[0])
    for number in numbers[1:]:
        # one draw between the numbers, so that (1, 2) and (2, 1) do not meet
        mixed = int(torch.randint(2**62, (), generator=generator, device="cpu")) ^ number
        generator.manual_seed(mixed)
    return generator
