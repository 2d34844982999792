"""What an attack by attempts works on: a batch, its budget, its randomness and its judge."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from nrpurify.attacks.box import Box, Eps, per_sample
from nrpurify.attacks.draws import Source, per_image
from nrpurify.attacks.goal import Goal, given_goal
from nrpurify.attacks.judge import Judge, Loss
from nrpurify.attacks.logits import predict
from nrpurify.attacks.margins import dlr
from nrpurify.attacks.surrogate import Model
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32


@dataclass(frozen=True)
class Scene:
    """A batch, or a part of it, ready to be attacked.

    Attributes:
        judge: Judges images of the whole batch by their indices.
        clean: N×3×H×W in [0, 1], at least fp32.
        radii: N×1×1×1 budgets.
        generators: N of them.
    """

    judge: Judge
    clean: Tensor
    radii: Tensor
    generators: list[Generator]

    @classmethod
    def of(
        cls,
        model: Model,
        images: Tensor,
        labels: Tensor | None,
        loss: Loss,
        *,
        eps: Eps,
        targets: Tensor | None,
        generator: Source,
        amp: Amp,
    ) -> Scene:
        """Check what was given; without labels the model, which is frozen by now, is asked.

        Raises:
            InputError: Images, eps, labels, targets or a model's answer that cannot be used.
        """
        check_images(images)
        clean = at_least_fp32(images.detach())
        radii = per_sample(eps, clean)
        goal = given_goal(clean, labels, targets)
        if goal is None or (goal.sign < 0 and loss is dlr):
            source = given_goal(clean, labels, None) or Goal(predict(model, clean, amp), +1)
            goal = source if goal is None else Goal(goal.classes, -1, source.classes)
        return cls(Judge(model, goal, loss, amp), clean, radii, per_image(generator, len(clean)))

    @property
    def box(self) -> Box:
        """Where the adversarial images must be."""
        return Box.around(self.clean, self.radii)

    def part(self, rows: Tensor) -> Scene:
        """The images of these indices; the judge stays the same."""
        generators = [self.generators[row] for row in rows.tolist()]
        return Scene(self.judge, self.clean[rows], self.radii[rows], generators)
