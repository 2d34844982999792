"""Attacks of foolbox that look for the shortest change: DeepFool, DDN, FMN, CW and HopSkipJump.

They run image by image, seeded, through :class:`Foolbox`; foolbox is an extra (``attacks``) and is
imported when one is called.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nrpurify.attacks.base import COUNT, NOT_NEGATIVE, POSITIVE, Attack, Range, functional
from nrpurify.attacks.forward import forward
from nrpurify.attacks.gradient import NO_GRADIENT
from nrpurify.attacks.losses import margin
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack
from nrpurify.attacks.surrogate import classify
from nrpurify.attacks.wrappers import EOT, Ensemble
from nrpurify.core.errors import InputError, MissingExtraError

PART: Range = (lambda value: 0 < value < 1, "a value in (0, 1)")


class Foolbox(Attack):
    """An attack of foolbox (Rauber et al., 2017), which stops at the border of the class.

    An image that is misclassified is left alone, and so is one that the attack cannot mislead at
    any distance. Where the shortest change found is longer than
    eps it is cut to the budget, and the image is likely to survive; with a large eps (such as 20
    in ℓ2) the result is the attack's own, and its distance the length of the change.

    Raises:
        InputError: An :class:`~nrpurify.attacks.EOT` or an :class:`~nrpurify.attacks.Ensemble`.
        MissingExtraError: foolbox is not installed.
    """

    one_network = True

    @classmethod
    def require(cls) -> None:
        """Look for foolbox, without importing it."""
        if find_spec("foolbox") is None:
            raise MissingExtraError("foolbox", "attacks")

    def attack(self, package: Any, norm: str) -> Any:
        """The attack, an object of ``foolbox.attacks``."""
        raise NotImplementedError

    def perturb(self, problem: AttackProblem) -> Tensor:
        """Attack image by image."""
        name = self.info.name
        parts = list(problem.model.modules()) if isinstance(problem.model, nn.Module) else []
        for kind in (EOT, Ensemble):
            if any(isinstance(part, kind) for part in [problem.model, *parts]):
                raise InputError(
                    f"{name} is an attack of foolbox on one network, and was given an "
                    f"{kind.__name__}; give one network, or take apgd-ce or square"
                )
        package = _foolbox()
        rows = torch.arange(len(problem.clean), device=problem.clean.device)
        found = problem.clean.clamp(0, 1)
        values, done = problem.evaluate(found, rows, margin)
        for step, row in enumerate(rows[~done].tolist(), 1):
            found[row] = self.one(package, problem, row)
            index = rows[row : row + 1]
            values[index], _ = problem.evaluate(found[index], index, margin)
            problem.report(step, values.clone())
        return found

    def one(self, package: Any, problem: AttackProblem, row: int) -> Tensor:
        """The attacked image 3×H×W of one row."""
        index = torch.tensor([row], device=problem.clean.device)
        part = problem.only(index)
        image, goal = part.clean.clamp(0, 1), part.goal
        network = _Network(problem)
        model = package.PyTorchModel(network, bounds=(0, 1), device=image.device)
        kind = "TargetedMisclassification" if goal.targeted else "Misclassification"
        criterion = getattr(package.criteria, kind)(goal.classes)
        seed = int(torch.randint(2**62, (), generator=part.generators[0], device="cpu"))
        devices = [image.device] if image.device.type == "cuda" else []
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            torch.manual_seed(seed)
            warnings.simplefilter("ignore")
            try:
                made = self.attack(package, problem.norm).run(model, image, criterion)
            except ValueError as error:  # no start: random images have the label, too
                if "init_attack failed" not in str(error):
                    raise
                made = image
        made = made.detach().to(image)
        _, reached = part.evaluate(made, torch.zeros(1, dtype=torch.int64), margin)
        # foolbox's CW returns a black image where it has found nothing
        return part.project(made if bool(reached) and bool(made.any()) else image)[0]


@register_attack("deepfool", source="Moosavi-Dezfooli et al., 2016", targeted=False)
class DeepFool(Foolbox):
    """Steps to the nearest linearized border of a class, in ℓ∞ or ℓ2.

    ``steps`` times ``candidates`` gradients an image at most. See :class:`Foolbox`.

    Attributes:
        steps: Number of steps at most.
        candidates: Classes of which the nearest is taken.
        overshoot: How far a step goes beyond the border, in units of its length.
    """

    ranges: ClassVar = {
        "candidates": (
            lambda value: isinstance(value, Integral) and int(value) >= 2,
            "at least 2, a whole number",
        ),
        "overshoot": NOT_NEGATIVE,
    }

    steps: int = 50
    candidates: int = 10
    overshoot: float = 0.02

    def attack(self, package: Any, norm: str) -> Any:
        """The attack of this norm."""
        attacks = package.attacks
        kind = attacks.LinfDeepFoolAttack if norm == "linf" else attacks.L2DeepFoolAttack
        return kind(steps=self.steps, candidates=self.candidates, overshoot=self.overshoot)


@register_attack("ddn", source="Rony et al., 2019", norms=("l2",))
class DDN(Foolbox):
    """Gradient steps on a sphere that shrinks while the image is misclassified and grows else.

    ``steps`` gradients an image. See :class:`Foolbox`.

    Attributes:
        steps: Number of steps.
        gamma: Share by which the radius changes.
    """

    ranges: ClassVar = {"gamma": PART}

    steps: int = 100
    gamma: float = 0.05

    def attack(self, package: Any, norm: str) -> Any:
        """The attack."""
        return package.attacks.DDNAttack(steps=self.steps, gamma=self.gamma)


@register_attack("fmn", source="Pintor et al., 2021")
class FMN(Foolbox):
    """Gradient steps in a ball that adapts to the border's distance, in ℓ∞ or ℓ2.

    ``steps`` gradients an image. See :class:`Foolbox`.

    Attributes:
        steps: Number of steps.
        max_stepsize: Length of the first step, in units of [0, 1] images.
        gamma: Share by which the radius changes at first.
    """

    ranges: ClassVar = {"max_stepsize": POSITIVE, "gamma": PART}

    steps: int = 100
    max_stepsize: float = 1.0
    gamma: float = 0.05

    def attack(self, package: Any, norm: str) -> Any:
        """The attack of this norm."""
        kind = package.attacks.LInfFMNAttack if norm == "linf" else package.attacks.L2FMNAttack
        return kind(steps=self.steps, max_stepsize=self.max_stepsize, gamma=self.gamma)


@register_attack("cw", source="Carlini & Wagner, 2017", norms=("l2",))
class CW(Foolbox):
    """The least weighted sum of ℓ2 length and margin, by Adam, over a search for the weight.

    ``searches`` times ``steps`` gradients an image at most. See :class:`Foolbox`.

    Attributes:
        steps: Steps of Adam for each weight; it ends early without progress.
        searches: Weights tried.
        step_size: Of Adam.
        confidence: Margin that the wrong class has to have.
    """

    ranges: ClassVar = {"searches": COUNT, "step_size": POSITIVE, "confidence": NOT_NEGATIVE}

    steps: int = 1000
    searches: int = 9
    step_size: float = 0.01
    confidence: float = 0.0

    def attack(self, package: Any, norm: str) -> Any:
        """The attack."""
        return package.attacks.L2CarliniWagnerAttack(
            binary_search_steps=self.searches,
            steps=self.steps,
            stepsize=self.step_size,
            confidence=self.confidence,
        )


@register_attack("hopskipjump", source="Chen et al., 2020", needs="scores", targeted=False)
class HopSkipJump(Foolbox):
    """Steps along the border of the class that need the predicted class only, in ℓ∞ or ℓ2.

    It starts at noise of another class. The default takes about 18,000 queries an image,
    ``steps=10`` about 2,500. See :class:`Foolbox`.

    Attributes:
        steps: Number of steps.
        queries: Queries for the first estimate of the border's direction; they grow with the root
            of the step's number.
    """

    ranges: ClassVar = {"queries": COUNT}

    steps: int = 40
    queries: int = 100

    def attack(self, package: Any, norm: str) -> Any:
        """The attack of this norm."""
        return package.attacks.HopSkipJumpAttack(
            steps=self.steps, initial_gradient_eval_steps=self.queries, constraint=norm
        )


class _Network(nn.Module):
    """The network under attack as foolbox takes it: fp32 logits, in eval mode."""

    def __init__(self, problem: AttackProblem) -> None:
        super().__init__()
        self.problem = [problem]  # in a list, so that foolbox moves nothing
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        (problem,) = self.problem
        answer = forward(lambda batch: classify(problem.model, batch), images, problem.amp)
        if images.requires_grad and not answer.requires_grad and torch.is_grad_enabled():
            raise InputError(NO_GRADIENT)
        return answer.float()


def _foolbox() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import foolbox
    except ImportError as error:
        raise MissingExtraError("foolbox", "attacks") from error
    return foolbox


deepfool = functional(DeepFool)
ddn = functional(DDN)
fmn = functional(FMN)
cw = functional(CW)
hopskipjump = functional(HopSkipJump)
