"""Trained defenses: purifiers of this package, and the networks that the paper compares with."""

from __future__ import annotations

from typing import Literal

from torch import Generator, nn

from nrpurify.core.errors import InputError
from nrpurify.defenses.randomness import Combine, check_passes
from nrpurify.defenses.registry import register_defense
from nrpurify.defenses.wavelet import Wavelet
from nrpurify.purifiers import DynamicPurifier, Purifier, load_purifier


def purifier(
    source: str,
    *,
    mode: Literal["static", "dynamic"] = "static",
    coarse: float = 0.0,
    fine: float = 0.0,
    gate: bool = True,
    noise: float = 0.05,
    eps: float = 16 / 255,
    passes: int = 1,
    combine: Combine = "vote",
    generator: Generator | None = None,
) -> nn.Module:
    """NRP and its kind: one pass, or behind a random step (appendix B.1).

    Args:
        source: A shipped purifier's name or a checkpoint file.
        mode: ``static`` or ``dynamic``.
        coarse: Strength of the correction's coarse part, see
            :class:`nrpurify.purifiers.Strength`; 0 for what the checkpoint says.
        fine: Strength of its fine part.
        gate: Let the checkpoint's gate, if it has one, decide which images get the strength; false
            gives it to all.
        noise: Of the random step, see :class:`nrpurify.purifiers.DynamicPurifier`.
        eps: Bound of the random step.
        passes: How often the model is asked; only ``dynamic`` has a use for more than 1.
        combine: ``vote`` (a majority vote, which the paper does not have) or ``mean``.
        generator: A CPU generator.

    Raises:
        InputError: No such purifier or mode, or settings that do not go together.
        WeightsError: The file is damaged or no purifier.
    """
    check_passes(passes, combine)
    network = load_purifier(source, coarse=coarse or None, fine=fine or None, gate=gate)
    if mode == "dynamic":
        return DynamicPurifier(
            network, noise=noise, eps=eps, passes=passes, combine=combine, generator=generator
        )
    if mode != "static":
        raise InputError(f"mode is {mode!r}; expected 'static' or 'dynamic'")
    if passes > 1:
        raise InputError(f"passes is {passes}; a static purifier answers always alike: 1")
    return network


def trained(name: str, *, checkpoint: str = "") -> Purifier:
    """A network of the recipe ``name``, trained by ``nrpurify train --recipe NAME``.

    Args:
        name: ``hgd``, ``ape-gan``, ``gnp``, ``fgsp`` or ``sr``.
        checkpoint: Its file.

    Raises:
        InputError: No file, or the network of another recipe.
        WeightsError: The file is damaged or no purifier.
    """
    if not checkpoint:
        raise InputError(
            f"no weights are shipped; train them (nrpurify train --data DIR --recipe {name}) "
            f"and give its file: {name}:checkpoint=runs/{name}/purifier.safetensors"
        )
    network = load_purifier(checkpoint)
    recipe = network.card.training.get("recipe")
    found = recipe.get("defense", "nrp") if isinstance(recipe, dict) else "nrp"
    if found != name:
        raise InputError(
            f"{checkpoint} was trained as {found!r}; expected one of the recipe {name!r}"
        )
    return network


@register_defense("hgd", source="Liao et al., 2018")
def hgd(*, checkpoint: str = "") -> Purifier:
    """HGD's denoising U-Net, see :func:`trained`."""
    return trained("hgd", checkpoint=checkpoint)


@register_defense("ape-gan", source="Jin et al., 2019")
def ape_gan(*, checkpoint: str = "") -> Purifier:
    """APE-GAN's generator, see :func:`trained`."""
    return trained("ape-gan", checkpoint=checkpoint)


@register_defense("gnp", source="Naseer et al., 2020, Fig. 5")
def gnp(*, checkpoint: str = "") -> Purifier:
    """A purifier trained on Gaussian noise, see :func:`trained`."""
    return trained("gnp", checkpoint=checkpoint)


@register_defense("fgsp", source="Naseer et al., 2020, Fig. 5")
def fgsp(*, checkpoint: str = "") -> Purifier:
    """A purifier trained on FGSM's images, see :func:`trained`."""
    return trained("fgsp", checkpoint=checkpoint)


@register_defense("sr", source="Mustafa et al., 2019", differentiable=False)
def super_resolution(*, sigma: float = 0.01, checkpoint: str = "") -> nn.Sequential:
    """SR (Mustafa et al., 2019): wavelet denoising, then EDSR to twice the size.

    Args:
        sigma: Of the noise, see :class:`nrpurify.defenses.wavelet.Wavelet`.
        checkpoint: A file of the recipe ``sr``.

    Raises:
        InputError: See :func:`trained`.
    """
    return nn.Sequential(Wavelet(sigma), trained("sr", checkpoint=checkpoint))
