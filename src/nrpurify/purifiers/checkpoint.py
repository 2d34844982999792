"""Purifiers on disk: safetensors with the card inside; nothing is ever unpickled."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from nrpurify.core.archive_size import check_size
from nrpurify.core.checkpoint import fill, read_carded, write_carded
from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.model_card import Card
from nrpurify.purifiers.gate import Gate
from nrpurify.purifiers.purifier import SMALLEST, Purifier
from nrpurify.purifiers.registry import Design, design, design_names
from nrpurify.purifiers.strength import PLAIN, Strength

DEFAULT = "fast"
_STRENGTH, _GATE = "strength", "gate."
ROOM = 8
"""Times the design's own bytes that a file of the authors may hold: doubles, an optimizer."""


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
    return _ready(purifier, device)


def _read_gate(tensors: dict[str, Tensor]) -> Gate | None:
    if not tensors:
        return None
    with torch.device("meta"):
        gate = Gate()
    fill(gate, {key.removeprefix(_GATE): tensor for key, tensor in tensors.items()})
    return gate


def _ready(purifier: Purifier, device: torch.device | str | None) -> Purifier:
    purifier.network.to(memory_format=torch.channels_last)
    return purifier.to(device).eval().requires_grad_(False)


def _locate(source: str | Path) -> Path:
    names = shipped()
    if str(source) in names:
        return names[str(source)]
    path = Path(source)
    if path.is_file():
        return path
    hint = f" ({source} is a design: train it first)" if str(source) in design_names() else ""
    raise InputError(
        f"no purifier {str(source)!r}{hint}; expected {', '.join(names) or 'no name'} or a file"
    )


def convert_checkpoint(source: str | Path, name: str) -> Purifier:
    """Read a state dict of the authors' own release (``NRP.pth``, ``NRP_resG.pth``).

    Tensors are matched in order and by shape, after a ``module.`` prefix or a wrapping
    ``state_dict`` entry is taken off; the file is read without running any code in it, and not at
    all when it would fill far more memory than the design needs.

    Args:
        source: The ``.pth`` file.
        name: The design it belongs to: ``nrp`` or ``resg``.

    Raises:
        WeightsError: The file cannot be read safely, or its tensors are not the design's.
    """
    purifier = build_purifier(name)
    needed = sum(tensor.nbytes for tensor in purifier.network.state_dict().values())
    try:
        check_size(Path(source), ROOM * needed)
        given = torch.load(source, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{source} cannot be read as a state dict: {error}") from error
    if isinstance(given, dict):
        given = given.get("state_dict", given)
    if not isinstance(given, dict) or not all(isinstance(v, Tensor) for v in given.values()):
        raise WeightsError(f"{source} holds no state dict; expected names with a tensor each")
    _copy_in_order(purifier.network, given, Path(source))
    return _ready(purifier, None)


def _copy_in_order(network: nn.Module, given: dict[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    if len(given) != len(expected):
        raise WeightsError(f"{path} has {len(given)} tensors; expected {len(expected)}")
    for (key, value), (name, target) in zip(given.items(), expected.items(), strict=True):
        if not _plain(value) or value.is_floating_point() != target.is_floating_point():
            kind = "floats" if target.is_floating_point() else "integers"
            raise WeightsError(
                f"{path}: {key} is {value.layout} of {value.dtype}; expected {name} as a dense "
                f"tensor of {kind}"
            )
        if value.shape != target.shape or str(key).rsplit(".", 1)[-1] != name.rsplit(".", 1)[-1]:
            raise WeightsError(
                f"{path}: {key} is {tuple(value.shape)}; expected {name} {tuple(target.shape)}"
            )
        if not value.isfinite().all():
            raise WeightsError(f"{path}: {key} has NaN or infinite values; expected finite ones")
        target.copy_(value)


def _plain(tensor: Tensor) -> bool:
    """Whether it has values of its own in memory, one a place: not sparse, nested or complex."""
    dense = tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized
    return dense and not tensor.is_meta and not tensor.is_complex()
