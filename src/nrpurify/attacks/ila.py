"""ILA, another attack's result made to transfer by a layer in the middle (Huang et al., 2019)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nrpurify.attacks import registry
from nrpurify.attacks.base import functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.fia import layer_hooks, product, split
from nrpurify.attacks.forward import Features
from nrpurify.attacks.gradient import Objective
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.errors import InputError
from nrpurify.core.precision import at_least_fp32, autocast


@register_attack("ila", source="Huang et al., 2019")
class ILA(GradientAttack):
    """Steps along the change of features that another attack has made, as far as they lead.

    What grows is the projection of the features' change on that of the ``baseline`` attack's
    result (ILAP). Steps start at the clean image, as in the published code. See
    :class:`~nrpurify.attacks.fia.FIA` for the default layer. ``steps`` gradients an image more than
    the baseline.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        features: Names of layers of the model; by default one in its middle, of each member.
        baseline: Another attack on classifiers, with its settings: ``mi-fgsm:steps=20``.

    Raises:
        InputError: A layer that does not exist, or no such baseline.
    """

    steps: int = 10
    step_size: Eps | None = None
    features: Features | None = None
    baseline: str = "i-fgsm"

    def __post_init__(self) -> None:
        """Check the baseline too."""
        super().__post_init__()
        attack = registry.create(self.baseline)
        if attack.info.needs != "classifier" or isinstance(attack, ILA):
            raise InputError(
                f"baseline is {self.baseline!r}; expected an attack on classifiers by gradients "
                "other than ila, such as i-fgsm"
            )

    def objective(self, problem: AttackProblem) -> Objective:
        """The length of the features' change along the baseline's, N values."""
        baseline = registry.create(self.baseline)
        if problem.norm not in baseline.info.norms or (
            problem.goal.targeted and not baseline.info.targeted
        ):
            raise InputError(f"baseline is {self.baseline!r}, which has no such norm or no targets")
        guide = baseline.perturb(replace(problem, callback=None))
        hooks = layer_hooks(problem, self.features)
        amp = problem.amp
        with torch.no_grad(), autocast(guide.device, amp):
            clean, changed = (
                [(hooks(part)[1], len(part)) for part in split(images, hooks)]
                for images in (problem.clean, guide)
            )
        directions, offsets = [], []
        for (before, count), (after, _) in zip(clean, changed, strict=True):
            moves = [
                at_least_fp32(b) - at_least_fp32(a)
                for (a, _), (b, _) in zip(before, after, strict=True)
            ]
            lengths = torch.stack([one.reshape(count, -1).square().sum(1) for one in moves]).sum(0)
            scale = lengths.sqrt().clamp_min(1e-20)
            known = [(one.reshape(count, -1) / scale[:, None]).view_as(one) for one in moves]
            directions.append(known)
            offsets.append(product(before, known, count))
        offset = torch.cat(offsets)

        def objective(images: Tensor) -> Tensor:
            parts = split(images, hooks)
            with autocast(images.device, amp):
                answers = [hooks(part)[1] for part in parts]
            triples = zip(answers, directions, parts, strict=True)
            grown = torch.cat([product(calls, known, len(part)) for calls, known, part in triples])
            return grown - offset

        return objective


ila = functional(ILA)
