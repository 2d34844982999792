"""Random noise of the same size: the control that an attack has to beat."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.base import Attack, functional
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.core.errors import InputError

KINDS = ("sign", "uniform")


@register_attack("noise", source="control", needs="none")
class Noise(Attack):
    """Images plus noise of size eps, within [0, 1]; ``model`` and ``labels`` are ignored.

    Attributes:
        kind: ``sign``: eps up or down at random; ``uniform``: evenly within eps.
    """

    kind: str = "sign"

    def __post_init__(self) -> None:
        """Check the kind."""
        super().__post_init__()
        if self.kind not in KINDS:
            raise InputError(f"no kind of noise {self.kind!r}; expected one of {', '.join(KINDS)}")

    def perturb(self, problem: AttackProblem) -> Tensor:
        """Draw the noise."""
        return problem.start(self.kind)


noise = functional(Noise)
