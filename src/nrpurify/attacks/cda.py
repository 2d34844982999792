"""CDA, cross-domain adversaries out of a trained generator (Naseer et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nrpurify.attacks.base import Attack, functional
from nrpurify.attacks.forward import forward_in_batches
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.trained import load_generator
from nrpurify.attacks.transforms import gaussian_kernel, smoother
from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32


@register_attack("cda", source="Naseer et al., 2019", needs="none")
class CDA(Attack):
    """The output of a generator for the images, projected to ``eps`` around them and to [0, 1].

    One generator serves every eps, and neither a victim nor a label is used. ``model`` is a
    generator from :func:`nrpurify.attacks.trained.load_generator`, or any network from N×3×H×W
    images in [0, 1] to the same; None for the generator that the package carries. Nothing is
    random: ``generator`` is ignored, and so are ``labels`` and ``callback``.

    Attributes:
        smooth: Filter the output by a 3×3 Gaussian of σ 1 before it is projected, which the authors
            advise against adversarially trained victims.

    Raises:
        InputError: A network whose output is no image of the same size.
    """

    smooth: bool = False

    @torch.no_grad()
    def perturb(self, problem: AttackProblem) -> Tensor:
        """One forward pass."""
        clean = problem.clean
        network = load_generator(device=clean.device) if problem.model is None else problem.model
        # one forward pass gains nothing from a batch on the CPU, and kernels round by its size
        made = forward_in_batches(
            lambda batch: generated(network, batch), torch.split(clean, 1), problem.amp
        )
        made = _smoothed(made) if self.smooth else made
        return problem.project(made.to(clean.dtype))


def generated(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The network's unbounded answer to N×3×H×W images, in at least fp32.

    Raises:
        InputError: The answer has another shape.
    """
    weights = network.parameters() if isinstance(network, torch.nn.Module) else iter(())
    weight = next(weights, images)
    answer: Tensor = network(images.to(weight.dtype))
    if answer.shape != images.shape:
        raise InputError(
            f"the generator answered {tuple(answer.shape)} to images of {tuple(images.shape)}; "
            "expected the same shape"
        )
    return at_least_fp32(answer)


def _smoothed(images: Tensor) -> Tensor:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    return smoother(gaussian_kernel(3, 1.0))(padded)[..., 1:-1, 1:-1]


cda = functional(CDA)
