"""What trained attacks have learned, on disk: CDA's generators and FFF's patterns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from nrpurify.attacks.generator import GeneratorNet
from nrpurify.core.checkpoint import fill, read_carded, write_carded
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.model_card import Card

GENERATOR = "cda-generator"
PATTERN = "fff-pattern"


def shipped() -> dict[str, Path]:
    """The results that the package carries, by the name of their attack: ``cda`` and ``fff``."""
    folder = Path(str(resources.files("nrpurify.attacks"))) / "checkpoints"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def locate(source: str | Path) -> Path:
    """The file of a shipped name, or ``source`` itself.

    Raises:
        InputError: Neither a shipped name nor a file.
    """
    names = shipped()
    path = names.get(str(source), Path(source))
    if not path.is_file():
        raise InputError(
            f"no trained attack {str(source)!r}; expected {' or '.join(names) or 'a file'}, or a "
            "file that `nrpurify train-attack` wrote"
        )
    return path


def save_generator(network: GeneratorNet, path: str | Path, card: Card) -> Card:
    """Write a generator in float16; the card's architecture must be :data:`GENERATOR`."""
    tensors = {k: v for k, v in network.state_dict().items() if not k.endswith("_tracked")}
    return write_carded(path, tensors, card, dtype=torch.float16)


def load_generator(
    source: str | Path = "cda", *, device: torch.device | str | None = None
) -> GeneratorNet:
    """Load a generator of CDA in eval mode, frozen, in fp32.

    Args:
        source: ``cda``, the shipped one, or a file.
        device: Where to put it.

    Raises:
        InputError: Neither a shipped name nor a file.
        WeightsError: The file is damaged, or holds no generator.
    """
    path = locate(source)
    card, tensors = _read(path, GENERATOR, "a generator of CDA")
    try:
        with torch.device("meta"):
            network = GeneratorNet(**card.arguments)
        missing = (name for name, _ in network.named_buffers() if name not in tensors)
        counters = {name: torch.zeros((), device="cpu") for name in missing}
        fill(network, {**counters, **tensors})
    except (TypeError, RuntimeError, InputError, WeightsError) as error:
        raise WeightsError(f"{path} does not fit its own card: {error}") from error
    return network.to(device).eval().requires_grad_(False)


def save_pattern(pattern: Tensor, path: str | Path, card: Card) -> Card:
    """Write a pattern 3×H×W in units of eps, in float16; with :data:`PATTERN` on the card."""
    return write_carded(path, {"pattern": pattern}, card, dtype=torch.float16)


def load_pattern(source: str | Path = "fff") -> Tensor:
    """Load a universal pattern, 3×H×W in [-1, 1]: a perturbation in units of eps.

    Args:
        source: ``fff``, the shipped one, or a file.

    Raises:
        InputError: Neither a shipped name nor a file.
        WeightsError: The file is damaged, or holds no pattern.
    """
    path = locate(source)
    _, tensors = _read(path, PATTERN, "a pattern of FFF")
    pattern = tensors.get("pattern")
    if pattern is None or not _is_pattern(pattern):
        raise WeightsError(f"{path} holds no pattern; expected one 3×H×W tensor in [-1, 1]")
    return pattern


def _is_pattern(values: Tensor) -> bool:
    shaped = values.ndim == 3 and len(values) == 3 and values.numel() > 0
    return shaped and bool((values.abs() <= 1).all())  # NaN is not


def _read(path: Path, architecture: str, what: str) -> tuple[Card, dict[str, Tensor]]:
    card, tensors = read_carded(path)
    if card.architecture != architecture:
        raise WeightsError(f"{path} is a {card.architecture}; expected {what} ({architecture})")
    return card, tensors


LOADERS: dict[str, Callable[..., torch.nn.Module | Tensor]] = {
    "cda": load_generator,
    "fff": load_pattern,
}
"""How to read what a trained attack has learned, by its name."""


def read_trained(given: Sequence[str], known: Collection[str] = tuple(LOADERS)) -> dict[str, Path]:
    """Files by name from texts such as ``cda=runs/cda/generator.safetensors``.

    Args:
        given: ``NAME=FILE`` each.
        known: The names.

    Raises:
        InputError: A text without ``=``, an unknown name or one that comes twice, or no file.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or name not in known:
            raise InputError(
                f"--trained {text!r} given; expected NAME=FILE with one of {', '.join(known)}"
            )
        if name in found:
            raise InputError(f"--trained names {name} twice; keep one of them")
        found[name] = locate(file)
    return found
