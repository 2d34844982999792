"""A purifier network as users meet it: any size in, [0, 1] out, with its card."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_batch, check_images, check_shape
from nrpurify.core.images import as_floats, to_uint8
from nrpurify.core.model_card import Card
from nrpurify.core.precision import Amp, autocast, keep_freed_memory, weights_dtype
from nrpurify.core.tracing import has_values
from nrpurify.purifiers.gate import Gate
from nrpurify.purifiers.strength import PLAIN, WINDOW, Strength, apply_strength
from nrpurify.purifiers.tiling import apply_tiled, check_tiles, crop, pad_to_multiple, tile_shape

TILE = 1200
HALO = 128
AT_ONCE = 800_000
"""Pixels of a batch that a CPU sends through the network together; more gains no time."""
SMALLEST = 96
"""Below so many pixels a side, images lose accuracy behind the shipped purifiers."""

_LOGGER = logging.getLogger(__name__)


def small_images_notes(side: int, defenses: Iterable[nn.Module]) -> list[str]:
    """What to tell about images of ``side`` pixels behind defenses; nothing if they suit them."""
    if side >= SMALLEST:
        return []  # before defenses are loaded
    parts = (part for defense in defenses for part in defense.modules())
    too_small = any(side < getattr(part, "smallest", 0) for part in parts)
    return [_small_images_note(side)] if too_small else []


def _small_images_note(side: int) -> str:
    return (
        f"images of {side} pixels: the shipped purifiers were trained on photographs and harm "
        f"images below {SMALLEST} pixels (docs/results.md, small and gray images); measure on your "
        "own, or train a purifier on your images"
    )


_noted: set[str] = set()
"""Names of notes that this process has logged."""


def _log_small_images(side: int) -> None:
    if "small images" not in _noted:
        _noted.add("small images")
        _LOGGER.warning("%s", _small_images_note(side))


class Purifier(nn.Module):
    """P of the paper: maps attacked (or clean) images to purified ones.

    Attributes:
        scale: How many times longer the sides become: 1, or 2 for the SR defense's network.
        smallest: Images with a side of fewer pixels are noted in the log, once a process; 0
            notes none, as for purifiers of your own.
        strength: The two factors of :class:`Strength`; part of the state, so that hashes see it.
        gate: Decides how much of the strength beyond 1 an image gets; None where all get it.

    Args:
        network: Maps N×3×H×W to the same shape; has ``multiple`` and ``radius``
            (see :meth:`nrpurify.purifiers.registry.Design.build`).
        card: Where it comes from.
        strength: Of its correction; the paper's is 1, all that a network takes that enlarges.
        gate: Trained with this network; without effect at strength 1.

    Raises:
        InputError: Another strength for a network that enlarges.

    Examples:
        >>> purifier = nrpurify.load_purifier("tiny")
        >>> isinstance(purifier, nrpurify.Purifier), purifier.scale
        (True, 1)
    """

    strength: Tensor
    smallest: int = 0

    def __init__(
        self,
        network: nn.Module,
        card: Card,
        strength: Strength = PLAIN,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.card = card
        self.scale = int(getattr(network, "scale", 1))
        self._note(strength)
        if self.scale != 1 and not self._as_is:
            raise InputError(f"a network that enlarges images was given {strength}; it takes 1")
        self.register_buffer("strength", strength.to_tensor())
        self.gate = gate

    def _note(self, strength: Strength) -> None:
        """What :meth:`forward` needs of the strength, without reading it from the device."""
        self._as_is = strength == PLAIN
        self._columns = 1 if strength.coarse == strength.fine else 2

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._note(Strength.from_tensor(self.strength))

    def forward(self, images: Tensor) -> Tensor:
        """Purify N×3×H×W images in [0, 1], also none; differentiable, output clamped to [0, 1].

        Raises:
            InputError: The images have another shape, or another type, such as uint8.
        """
        check_batch(images)
        if images.shape[0] == 0:
            height, width = (self.scale * side for side in images.shape[-2:])
            return images.new_empty(0, 3, height, width)
        if self.smallest and has_values(images):
            side = min(images.shape[-2:])
            if side < self.smallest:
                _log_small_images(side)
        given = images.contiguous().to(weights_dtype(self.network, images))
        purified = self._apply_network(given)
        if not self._as_is:
            purified = apply_strength(given, purified, self._factors(given, purified))
        return purified.clamp(0, 1).to(images.dtype)

    def _apply_network(self, images: Tensor) -> Tensor:
        multiple = int(self.network.multiple)  # type: ignore[arg-type]
        height, width = images.shape[-2:]
        purified: Tensor = self.network(pad_to_multiple(images, multiple, "replicate"))
        purified = crop(purified, self.scale * height, self.scale * width)
        return purified.contiguous().to(images.dtype)  # as images are: mixed formats take longer

    def _factors(self, images: Tensor, purified: Tensor) -> Tensor:
        strength = self.strength[: self._columns]
        if self.gate is None:
            return strength
        share: Tensor = self.gate(images, purified).to(purified.dtype)
        return 1 + share[:, None] * (strength - 1)

    @torch.no_grad()
    def purify(
        self,
        images: Tensor,
        *,
        tile: int = TILE,
        halo: int | None = None,
        amp: Amp = False,
        executor: Executor | None = None,
    ) -> Tensor:
        """Purify without gradients, in bounded memory.

        Images of more than (tile + 2·halo)² pixels are cut into pieces that have no more with
        their halo.

        Args:
            images: N×3×H×W in [0, 1].
            tile: Side in pixels of a square tile; pieces may be longer and narrower.
            halo: Pixels of context around a tile; by default the network's receptive radius or
                128, whichever is less (further pixels change the result by less than 1/255).
            amp: bf16 autocast: ``True``, ``False`` or ``"auto"`` (where the hardware has it).
            executor: Threads that share the tiles; by default this one does all of them.

        Raises:
            InputError: Images that are not N×3×H×W in [0, 1], or a tile without pixels.
        """
        check_images(images)
        return self._purify(images, tile, halo, amp, executor)

    @torch.no_grad()
    def purify_pixels(
        self,
        pixels: Tensor,
        *,
        tile: int = TILE,
        halo: int | None = None,
        amp: Amp = False,
        executor: Executor | None = None,
    ) -> Tensor:
        """Purify 8-bit images: :meth:`purify` with its result rounded.

        Large images take 18 bytes a pixel beside the tiles, where floats take 36.

        Args:
            pixels: N×3×H×W uint8.
            tile: As for :meth:`purify`, like ``halo``, ``amp`` and ``executor``.
            halo: See there.
            amp: See there.
            executor: See there.

        Returns:
            N×3×H'×W' uint8.

        Raises:
            InputError: Pixels that are not N×3×H×W uint8.
        """
        if pixels.dtype != torch.uint8:
            raise InputError(
                f"pixels are {pixels.dtype} of shape {tuple(pixels.shape)}; expected N×3×H×W uint8 "
                "(purify takes floats)"
            )
        check_shape(pixels, "pixels")
        return self._purify(pixels, tile, halo, amp, executor)

    @property
    def score_unit(self) -> str:
        """What :meth:`score` returns: ``gate logit``, or ``correction, of 255`` without a gate."""
        return "correction, of 255" if self.gate is None else "gate logit"

    @torch.no_grad()
    def score(
        self, images: Tensor, *, tile: int = TILE, halo: int | None = None, amp: Amp = False
    ) -> Tensor:
        """How much each image looks attacked.

        The gate's logit (above 0: more than half of the strength is applied) or, without a gate,
        the root mean square of the network's correction, in 255ths.

        Args:
            images: N×3×H×W in [0, 1].
            tile: As for :meth:`purify`, like ``halo`` and ``amp``.
            halo: See there.
            amp: See there.

        Returns:
            N float32 values.

        Raises:
            InputError: Images that are not N×3×H×W in [0, 1], or a network that enlarges.
        """
        check_images(images)
        if self.scale != 1:
            raise InputError(f"{self.card.name} enlarges images; it has no correction to judge by")
        halo = self._halo(tile, halo)
        with autocast(images.device, amp):
            if _is_large(images, tile, halo):
                purified = self._network_tiled(images, tile, halo, amp, None)
            else:
                purified = self._apply_network(images.to(weights_dtype(self.network, images)))
            if self.gate is not None:
                return self.gate.logits(images, purified).float()
        correction = (purified.clamp(0, 1) - images).float().flatten(1)
        return 255 * correction.square().mean(1).sqrt()

    def _halo(self, tile: int, halo: int | None) -> int:
        if halo is None:
            halo = min(int(self.network.radius), HALO)  # type: ignore[arg-type]
        check_tiles(tile, halo)
        return halo

    def _purify(
        self, images: Tensor, tile: int, halo: int | None, amp: Amp, executor: Executor | None
    ) -> Tensor:
        keep_freed_memory()
        halo = self._halo(tile, halo)
        with autocast(images.device, amp):
            if _is_large(images, tile, halo):
                return self._purify_tiled(images, tile, halo, amp, executor)
            height, width = images.shape[-2:]
            floats = as_floats(images) if images.dtype == torch.uint8 else images
            on_cpu = images.device.type == "cpu"
            count = AT_ONCE // (height * width) if on_cpu else len(images)
            parts = torch.split(floats, max(count, 1))
            purified = [_like(self(part), images) for part in parts]
        return torch.cat(purified)

    def _dtype(self, images: Tensor) -> torch.dtype:
        return weights_dtype(self.network, as_floats(images[..., :1, :1]))

    def _network_tiled(
        self, images: Tensor, tile: int, halo: int, amp: Amp, executor: Executor | None
    ) -> Tensor:
        dtype, multiple = self._dtype(images), int(self.network.multiple)  # type: ignore[arg-type]
        height, width = images.shape[-2:]

        def network(part: Tensor) -> Tensor:
            purified = self._apply_network(as_floats(part, dtype))
            return _like(purified, images) if self._as_is else purified

        return apply_tiled(
            _in_threads(network, images.device, amp, executor),
            images,
            tile=tile_shape(height, width, tile, halo, multiple),
            halo=halo,
            multiple=multiple,
            scale=self.scale,
            dtype=images.dtype if self._as_is else dtype,
            executor=executor,
        )

    def _purify_tiled(
        self, images: Tensor, tile: int, halo: int, amp: Amp, executor: Executor | None
    ) -> Tensor:
        """The network tile by tile, then the gate on the whole, then the strength."""
        purified = self._network_tiled(images, tile, halo, amp, executor)
        if self._as_is:
            return purified
        dtype, factors = self._dtype(images), self._factors(images, purified)

        def strengthen(part: Tensor, purified: Tensor) -> Tensor:
            return _like(apply_strength(as_floats(part, dtype), purified, factors), images)

        function = _in_threads(strengthen, images.device, amp, executor)
        halo = WINDOW // 2
        return apply_tiled(function, images, purified, tile=tile, halo=halo, executor=executor)


def _in_threads(
    function: Callable[..., Tensor], device: torch.device, amp: Amp, executor: Executor | None
) -> Callable[..., Tensor]:
    """``function`` under autocast, which other threads do not inherit."""

    def run(*parts: Tensor) -> Tensor:
        with autocast(device, amp):
            return function(*parts)

    return function if executor is None else run


def _is_large(images: Tensor, tile: int, halo: int) -> bool:
    height, width = images.shape[-2:]
    return height * width > (tile + 2 * halo) ** 2


def _like(purified: Tensor, images: Tensor) -> Tensor:
    """Clamped, and in the type of ``images``: rounded where that is uint8."""
    if images.dtype == torch.uint8:
        return to_uint8(purified)
    return purified.clamp(0, 1).to(images.dtype)
