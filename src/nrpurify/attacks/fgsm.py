"""The family of the fast gradient sign method: one step, many steps, random starts, momentum."""

from __future__ import annotations

from typing import ClassVar

from nrpurify.attacks.base import functional
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.gradient import Objective
from nrpurify.attacks.gradient_attack import GradientAttack
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.starts import Start
from nrpurify.core.errors import InputError


@register_attack("fgsm", source="Goodfellow et al., 2015")
class FGSM(GradientAttack):
    """One gradient step of length eps (appendix F)."""


@register_attack("r-fgsm", source="Tramèr et al., 2018")
class RFGSM(GradientAttack):
    """A step in a random direction, then a gradient step with what is left of eps (appendix F).

    ``paper``: a random step of eps / 3. ``authors``: of 0.05 where eps is 0.3, their default.

    Attributes:
        start_share: Share of eps, in (0, 1), that the random step takes.
    """

    presets: ClassVar = {"authors": {"start_share": 1 / 6}}
    start = "sign"

    start_share: float = 1 / 3

    def __post_init__(self) -> None:
        """Leave something for the gradient step."""
        super().__post_init__()
        if self.start_share >= 1:
            raise InputError(f"start_share is {self.start_share}; expected a value between 0 and 1")

    def length(self, eps: Eps, norm: str = "linf") -> Eps:
        """The length of the gradient step: what the random step leaves of ``eps``."""
        return super().length((1 - self.start_share) * eps, norm)


@register_attack("i-fgsm", source="Kurakin et al., 2017")
class IFGSM(GradientAttack):
    """Several small gradient steps from the image itself (appendix F).

    ``paper``: 10 steps of 1.6/255 at eps 16/255. ``authors``: 20 of 1/255, meant for that eps.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        linf_step: The default in ℓ∞; with one, ℓ2 takes 2.5 eps / steps.
    """

    presets: ClassVar = {"authors": {"steps": 20, "linf_step": 1 / 255}}

    steps: int = 10
    step_size: Eps | None = None
    linf_step: float | None = None


@register_attack("pgd", source="Madry et al., 2018")
class PGD(GradientAttack):
    """Gradient steps from a random point of the ball.

    The authors' code, too, takes 10 steps of 2/255 (at eps 8/255) from a uniform start. For a
    targeted attack give ``targets``, for instance those of :func:`nrpurify.attacks.random_targets`.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default 2/255, in ℓ2
            2.5 eps / steps.
        start: ``uniform``, or another name in :data:`nrpurify.attacks.starts.STARTS`.
        targeted: Whether ``targets`` are expected; None for whether they are there.

    Raises:
        InputError: A targeted attack without targets, or an untargeted one with some.
    """

    steps: int = 10
    step_size: Eps | None = None
    start: str | Start = "uniform"
    targeted: bool | None = None
    linf_step = 2 / 255

    def objective(self, problem: AttackProblem) -> Objective:
        """The cross entropy."""
        targeted = problem.goal.targeted
        if self.targeted is not None and self.targeted != targeted:
            given = "targets were" if targeted else "no targets were"
            raise InputError(
                f"targeted is {self.targeted} and {given} given; expected targets, one class index "
                "an image, with a targeted attack and with no other: see random_targets"
            )
        return super().objective(problem)


@register_attack("mi-fgsm", source="Dong et al., 2018")
class MIFGSM(GradientAttack):
    """Gradient steps along the accumulated gradient (appendix F).

    Each gradient is divided by its L1 mean before it is added to ``momentum`` times the sum so far.
    The authors' code, too, takes 10 steps of eps / 10 with decay 1.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
    """

    steps: int = 10
    step_size: Eps | None = None
    momentum: float = 1.0


fgsm = functional(FGSM)
r_fgsm = functional(RFGSM)
i_fgsm = functional(IFGSM)
pgd = functional(PGD)
mi_fgsm = functional(MIFGSM)
