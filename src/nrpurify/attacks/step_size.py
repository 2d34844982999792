"""The step size that an attack takes, by norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrpurify.attacks.constraints import Eps


class StepSize:
    """Turns the settings of an attack into the length of its steps.

    A length that an attack takes by default, or that a preset gives, is one for ℓ∞: in ℓ2 it would
    be tiny. So it is kept apart from ``step_size``, which holds for the norm of the call.

    Attributes:
        steps: Number of steps.
        step_size: In units of [0, 1] images, one value or one an image; None for the default.
        linf_step: The default in ℓ∞; None for eps / steps, in ℓ2 too.
    """

    steps: Any
    step_size: Any
    if TYPE_CHECKING:  # a type checker needs the annotation, a dataclass would make it a field
        linf_step: float | None = None
    else:
        linf_step = None

    def set_step(self, norm: str) -> Eps | None:
        """The step size as settings give it; None where it follows from eps and the steps."""
        if self.step_size is None and norm == "linf":
            return self.linf_step
        given: Eps | None = self.step_size
        return given

    def length(self, eps: Eps, norm: str = "linf") -> Eps:
        """The step size in force; by default eps / steps, or 2.5 times that in place of an ℓ∞ one.

        2.5 eps / steps reaches all of the ball (Madry et al., 2018).
        """
        given = self.set_step(norm)
        if given is not None:
            return given
        length: Eps = eps / self.steps
        return length if self.linf_step is None else 2.5 * length

    def in_force(self, norm: str = "linf") -> dict[str, Any]:
        """The settings, with the step size that holds in ``norm``."""
        settings: dict[str, Any] = super().in_force(norm)  # type: ignore[misc]
        if "step_size" in settings:
            settings["step_size"] = self.set_step(norm)
        return {name: value for name, value in settings.items() if name != "linf_step"}
