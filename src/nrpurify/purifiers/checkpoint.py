"""Purifiers on disk: safetensors with the card inside; nothing is ever unpickled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from nrpurify.core.checkpoint import fill, read_carded, write_carded
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.model_card import Card
from nrpurify.purifiers.gate import Gate
from nrpurify.purifiers.purifier import SMALLEST, Purifier
from nrpurify.purifiers.registry import Design, design, design_names
from nrpurify.purifiers.strength import PLAIN, Strength

DEFAULT = "fast"
_STRENGTH, _GATE = "strength", "gate."


def shipped() -> dict[str, Path]:
    """The checkpoints that the package carries, by name."""
    folder = Path(str(resources.files("nrpurify.purifiers"))) / "checkpoints"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def build_purifier(name: str) -> Purifier:
    """A purifier of the design ``name`` with fresh, untrained weights.

    Raises:
        InputError: No such design.
    """
    plan = design(name)
    return Purifier(
        plan.build(load_plugins=True), Card(name, plan.architecture, dict(plan.arguments))
    )


def save_purifier(
    purifier: Purifier, path: str | Path, *, dtype: torch.dtype = torch.float32
) -> Card:
    """Write a purifier and its card to ``path`` (safetensors), whole or not at all.

    Args:
        purifier: What to save.
        path: Where to.
        dtype: Type of the stored weights; float16 halves the file.

    Returns:
        The card as written, with the hash of the tensors.

    Examples:
        >>> purifier = nrpurify.load_purifier("tiny")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     card = nrpurify.save_purifier(purifier, Path(folder, "mine.safetensors"))
        >>> card.architecture
        'unshuffle-unet'
    """
    tensors = {**purifier.network.state_dict(), _STRENGTH: purifier.strength}
    if purifier.gate is not None:
        tensors |= purifier.gate.state_dict(prefix=_GATE)
    return write_carded(path, tensors, purifier.card, dtype=dtype)


def load_purifier(
    source: str | Path = DEFAULT,
    *,
    device: torch.device | str | None = None,
    coarse: float | None = None,
    fine: float | None = None,
    gate: bool = True,
) -> Purifier:
    """Load a purifier in eval mode, frozen, in fp32.

    Args:
        source: A shipped name (``fast``) or a file that :func:`save_purifier` wrote.
        device: Where to put it.
        coarse: Strength of the coarse part of its correction, see
            :class:`nrpurify.purifiers.Strength`; by default what the file says.
        fine: Strength of the fine part.
        gate: Let the file's gate decide which images get the strength; false gives it to all.

    Raises:
        InputError: Neither a shipped name nor a file, or a strength that it does not take.
        WeightsError: The file is damaged, or is no purifier of this package.

    Examples:
        >>> purifier = nrpurify.load_purifier("tiny")
        >>> purifier.purify(torch.rand(1, 3, 96, 128)).shape
        torch.Size([1, 3, 96, 128])
    """
    path = _locate(source)
    card, tensors = read_carded(path)
    factors = tensors.pop(_STRENGTH, PLAIN.to_tensor())
    of_gate = {key: tensors.pop(key) for key in list(tensors) if key.startswith(_GATE)}
    try:
        plan = Design.of(card)
        plan.entry()  # its file is imported outside of the meta device
        with torch.device("meta"):
            network = plan.build()
        fill(network, tensors)
        if any(buffer.is_meta for buffer in network.buffers()):  # one that files leave out
            with torch.random.fork_rng(devices=[]):
                network = plan.build()
            fill(network, tensors)
        own = Strength.from_tensor(factors)
        decides = _read_gate(of_gate) if gate else None
        purifier = Purifier(network, card, own, decides)
    except (InputError, WeightsError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit its own card: {error}") from error
    given = {"coarse": coarse, "fine": fine}
    changes = {name: factor for name, factor in given.items() if factor is not None}
    if changes:
        purifier = Purifier(network, card, replace(own, **changes), decides)
    if source in shipped():
        purifier.smallest = SMALLEST
    return ready(purifier, device)


def _read_gate(tensors: dict[str, Tensor]) -> Gate | None:
    if not tensors:
        return None
    with torch.device("meta"):
        gate = Gate()
    fill(gate, {key.removeprefix(_GATE): tensor for key, tensor in tensors.items()})
    return gate


def ready(purifier: Purifier, device: torch.device | str | None = None) -> Purifier:
    """A purifier as loading returns it: on ``device``, channels last, in eval mode, frozen."""
    purifier.to(memory_format=torch.channels_last)
    return purifier.to(device).eval().requires_grad_(False)


def is_path(source: str | Path) -> bool:
    """Whether what was given is the path of a file or folder by its form, and no name."""
    text = str(source)
    endings = (".safetensors", ".onnx", ".xml", ".pt", ".pth")
    return isinstance(source, Path) or Path(text).name != text or text.lower().endswith(endings)


def no_file(source: str | Path) -> str:
    """Why a path is not that of a purifier's file."""
    with suppress(OSError):  # too long for a path
        if Path(source).is_dir():
            return "it is a folder; name a file in it, such as purifier.safetensors"
    return "there is no such file"


def _locate(source: str | Path) -> Path:
    names = shipped()
    if str(source) in names:
        return names[str(source)]
    path = Path(source)
    if path.is_file():
        if path.suffix.lower() in (".onnx", ".xml"):
            raise InputError(
                f"{str(source)!r} is an exported file, which is a defense: give it to protect() or "
                "as --defense; expected a checkpoint (.safetensors)"
            )
        return path
    hint = f" ({source} is a design: train it first)" if str(source) in design_names() else ""
    if str(source).partition(":")[0] in names:
        hint = " (settings go where a defense is named, as in --defense fast:coarse=1)"
    if is_path(source):
        hint = f": {no_file(source)}"
    raise InputError(
        f"no purifier {str(source)!r}{hint}; expected {', '.join(names) or 'no name'} or a file"
    )
