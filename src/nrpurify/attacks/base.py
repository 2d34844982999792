"""The base of all attacks: fields are settings, and the base keeps what every attack must keep.

A new attack is one class with :meth:`Attack.perturb`. The base checks images, budget, labels and
targets, freezes the model, gives each image its own generator, and refuses results that are out of
the budget or of [0, 1], of another shape, NaN or infinite.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast, dataclass_transform

import torch
from torch import Tensor, nn

from nrpurify.attacks.constraints import Eps, check_norm, per_sample
from nrpurify.attacks.forward import Transform, cross_entropy
from nrpurify.attacks.forward import predict as predict_classes
from nrpurify.attacks.gradient import (
    Callback,
    Objective,
    enable_attack_grad,
    outside_inference,
    sign_gradient_ascent,
)
from nrpurify.attacks.losses import Criterion, given_criterion
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import AttackInfo
from nrpurify.attacks.starts import GeneratorLike, Start, per_image
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.transforms import diverse_input, gaussian_kernel, smoother
from nrpurify.core.errors import AttackError, InputError
from nrpurify.core.images import check_images
from nrpurify.core.precision import Amp, at_least_fp32
from nrpurify.core.registry import naming_plugin, near_matches

__all__ = ["Attack", "AttackFunction", "AttackProblem", "GradientAttack", "functional"]

A = TypeVar("A", bound="Attack")
GROWTH = 330 / 299
"""How far input diversity enlarges images: to 330 pixels from Inception's 299, as published."""
TOLERANCE = 1e-5
"""Rounding errors of arithmetic that a result may show before it is projected."""
PRESETS = ("paper", "authors")
"""The paper's own tables, and the attack's published code; every attack knows both."""
RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "steps": (lambda value: value >= 1, "at least 1"),
    "restarts": (lambda value: value >= 1, "at least 1"),
    "copies": (lambda value: value >= 1, "at least 1"),
    "samples": (lambda value: value >= 1, "at least 1"),
    "blocks": (lambda value: value >= 1, "at least 1"),
    "radius": (lambda value: value > 0, "more than 0"),
    "start_share": (lambda value: 0 < value <= 1, "a value in (0, 1]"),
    "momentum": (lambda value: value >= 0, "0 or more"),
    "diversity": (lambda value: 0 <= value <= 1, "a probability"),
    "smoothing": (lambda value: not value or value % 2 == 1, "0 or an odd number"),
}
"""Ranges of settings that several attacks have, checked by the base."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Attack:
    """The base of all attacks. Annotated class attributes are the settings, with their defaults.

    Subclasses become frozen, keyword-only dataclasses; the defaults are the ``paper`` preset.
    """

    info: ClassVar[AttackInfo] = AttackInfo()
    """Set by :func:`~nrpurify.attacks.registry.register_attack`."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings by preset where they differ from the defaults."""
    one_network: ClassVar[bool] = False
    """Whether it refuses ensembles."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the subclass a dataclass."""
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        """Check settings of common names; subclasses check their own and call this."""
        for name, (fits, expected) in RANGES.items():
            value = getattr(self, name, None)
            if value is not None and not fits(value):
                raise InputError(f"{name} is {value}; expected {expected}")

    def perturb(self, problem: AttackProblem) -> Tensor:
        """Return adversarial images of the shape of ``problem.clean``, within its budget."""
        raise NotImplementedError

    @classmethod
    def require(cls) -> None:
        """Raise MissingExtraError where a package that the attack needs is not installed."""

    @classmethod
    def preset_names(cls) -> tuple[str, ...]:
        """``paper``, ``authors`` and what the attack adds."""
        return tuple(dict.fromkeys((*PRESETS, *cls.presets)))

    @classmethod
    def create(cls: type[A], preset: str = "paper", **settings: Any) -> A:
        """The attack with a preset's settings and ``settings`` over them; None is left out.

        Raises:
            InputError: No such preset or setting, or a value that is refused.
        """
        if preset not in cls.preset_names():
            expected = ", ".join(cls.preset_names())
            raise InputError(f"no preset {preset!r}; expected one of {expected}")
        given = {name: value for name, value in settings.items() if value is not None}
        known = [one.name for one in fields(cast(Any, cls))]
        for name in settings:
            if name not in known:
                raise InputError(
                    f"{cls.info.name} has no setting {name!r}; {near_matches(name, known)}"
                )
        return cls(**{**cls.presets.get(preset, {}), **given})

    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return {one.name: getattr(self, one.name) for one in fields(cast(Any, self))}

    def __call__(
        self,
        model: Any,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        eps: Eps = 16 / 255,
        norm: str = "linf",
        targets: Tensor | None = None,
        generator: GeneratorLike = None,
        amp: Amp = False,
        callback: Callback | None = None,
    ) -> Tensor:
        """Attack images.

        Args:
            model: What ``info.needs``: a classifier from N×3×H×W images in [0, 1] to N×classes
                logits (a module, an :class:`~nrpurify.attacks.Ensemble`, an
                :class:`~nrpurify.attacks.EOT`, or a function), a
                :class:`~nrpurify.models.features.FeatureExtractor`, or None. It runs in eval mode;
                its modes and ``requires_grad`` are restored afterwards.
            images: N×3×H×W in [0, 1], of any float type; left as they are.
            labels: N class indices from 0, from which the attack leads away; None for the model's
                own predictions, which avoids label leaking (Kurakin et al., 2017). Ignored by
                attacks without labels.
            eps: Budget, one value or one an image: in (0, 1] for ℓ∞, above 0 for ℓ2.
            norm: ``linf`` or ``l2``.
            targets: N class indices from 0 toward which it leads, in place of ``labels``.
            generator: Makes what is random reproducible: one on the CPU for all, or one an image.
            amp: bf16 autocast: ``True``, ``False`` or ``"auto"``. The images of one call go through
                the network together, and kernels round by their number; see
                ``nrpurify.evaluation.attack_runner`` for results that do not depend on it.
            callback: Called after each step with its number from 1 and the N losses before it
                (minus the loss when targeted).

        Returns:
            Adversarial images of the same shape and dtype, within ``eps`` and [0, 1].

        Raises:
            InputError: Images, eps, labels, targets or a model's answer that cannot be used.
            AttackError: The attack's own code broke the budget, or returned no such images.
        """
        differentiable = self.info.needs in ("classifier", "features")
        with enable_attack_grad(images) if differentiable else nullcontext():
            if differentiable:
                images, labels, targets, model = map(
                    outside_inference, (images, labels, targets, model)
                )
            check_images(images)
            clean = at_least_fp32(images.detach())
            self._check(norm, targets, generator, len(clean))
            radii = per_sample(eps, clean, norm=norm)
            criterion = given_criterion(clean, labels, targets) if self.info.labels else None
            networks = [value for value in vars(self).values() if isinstance(value, nn.Module)]
            with frozen(model, *map(outside_inference, networks)):
                if criterion is None and self.info.labels:
                    criterion = Criterion(predict_classes(model, clean, amp))
                problem = AttackProblem(
                    model, clean, radii, norm, criterion, labels, generator, amp, callback
                )
                with (
                    naming_plugin(self.info.name, type(self).__module__)
                    if not _own(self)
                    else nullcontext()
                ):
                    found = self.perturb(problem)
                return self._checked(problem, found, images.dtype)

    def _check(
        self, norm: str, targets: Tensor | None, generator: GeneratorLike, count: int
    ) -> None:
        check_norm(norm)
        if norm not in self.info.norms:
            raise InputError(
                f"norm is {norm!r}; {self.info.name} supports {', '.join(self.info.norms)}"
            )
        if targets is not None and not self.info.targeted:
            raise InputError(f"targets were given; {self.info.name} takes none, leave them out")
        if isinstance(generator, Sequence):
            per_image(generator, count)

    def _checked(self, problem: AttackProblem, found: Tensor, dtype: torch.dtype) -> Tensor:
        name, clean = self.info.name, problem.clean
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if shape != tuple(clean.shape):
            raise AttackError(
                f"the attack {name} made {tuple(clean.shape)} into {shape}; expected the same shape"
            )
        found = found.detach().to(clean)
        if not bool(found.isfinite().all()):
            raise AttackError(f"the attack {name} returned NaN or infinite values; expected images")
        low, high = float(found.min()), float(found.max())
        if low < -TOLERANCE or high > 1 + TOLERANCE:
            raise AttackError(
                f"the attack {name} returned values from {low:g} to {high:g}; expected [0, 1]: "
                "return problem.project(images)"
            )
        sizes, radii = problem.ball.size(found - clean), problem.radii.flatten()
        over = sizes > radii * (1 + TOLERANCE) + TOLERANCE
        if bool(over.any()):
            row = int(over.nonzero()[0])
            raise AttackError(
                f"the attack {name} changed image {row} by {float(sizes[row]):g} "
                f"({problem.norm}); expected at most eps {float(radii[row]):g}: "
                "return problem.project(images)"
            )
        return problem.ball.cast(problem.project(found), dtype)


def _own(attack: Attack) -> bool:
    return type(attack).__module__.partition(".")[0] == __name__.partition(".")[0]


class GradientAttack(Attack):
    """Gradient steps up a loss; FGSM, PGD, MI-FGSM, DIM and their kin are settings of it.

    The attributes below are constants here, since they have no annotation. A subclass makes one a
    setting by annotating it.

    Attributes:
        steps: Number of gradient steps.
        step_size: In units of [0, 1] images, one value or one an image; None for eps / steps.
        start: A name in :data:`nrpurify.attacks.starts.STARTS`, or a function.
        start_share: Share of eps that a random start may use.
        momentum: Decay of accumulated gradients, 0 for none.
        diversity: Probability of an input-diversity draw for an image and step, 0 for none.
        smoothing: Odd side of the Gaussian filter of the gradient, 0 for none.
    """

    steps = 1
    if TYPE_CHECKING:  # a type checker needs the annotation, a dataclass would make it a field
        step_size: Eps | None = None
        start: str | Start = "clean"
    else:
        step_size, start = None, "clean"
    start_share = 1.0
    momentum = 0.0
    diversity = 0.0
    smoothing = 0

    def perturb(self, problem: AttackProblem) -> Tensor:
        """Ascend :meth:`objective` by the settings."""
        first = self.first(problem)
        return sign_gradient_ascent(
            problem.clean,
            self.objective(problem),
            eps=problem.radii,
            norm=problem.norm,
            steps=self.steps,
            step_size=self.length(problem.radii, problem.norm),
            start=first,
            momentum=self.momentum,
            smooth=smoother(gaussian_kernel(self.smoothing)) if self.smoothing else None,
            callback=problem.callback,
        )

    def objective(self, problem: AttackProblem) -> Objective:
        """The loss that is to grow: the cross entropy, on diverse inputs with ``diversity``."""
        if not self.diversity:
            return problem.loss

        def draw() -> list[Transform]:
            shape = torch.Size((1, *problem.clean.shape[1:]))
            return [
                diverse_input(shape, self.diversity, one, growth=GROWTH)
                for one in problem.generators
            ]

        return cross_entropy(problem.model, problem.goal, draw, problem.amp)

    def first(self, problem: AttackProblem) -> Tensor | None:
        """The images that it starts from; None for the clean ones."""
        if self.start == "clean":
            return None
        return problem.start(self.start, self.start_share)

    def length(self, eps: Eps, norm: str = "linf") -> Eps:
        """The step size in force.

        A start of random signs has used up its share of ``eps``. A default step size is one for ℓ∞
        and would be tiny in ℓ2; there it is 2.5 eps / steps, which reaches all of the ball.
        """
        if self.step_size is not None:
            default = type(self).step_size
            if norm == "linf" or default is None or self.step_size is not default:
                return self.step_size
            return 2.5 * eps / self.steps
        used = self.start_share if self.start == "sign" else 0.0
        return (1 - used) * eps / self.steps


class AttackFunction(Protocol):
    """The functional form of an attack."""

    __name__: str

    def __call__(
        self,
        model: Any,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        eps: Eps = 16 / 255,
        norm: str = "linf",
        preset: str = "paper",
        targets: Tensor | None = None,
        generator: GeneratorLike = None,
        amp: Amp = False,
        callback: Callback | None = None,
        **settings: Any,
    ) -> Tensor:
        """Attack images; arguments as in :meth:`Attack.__call__` and the attack's settings."""


_COMMON = """
Arguments that are not listed, the result and errors: see
:meth:`nrpurify.attacks.base.Attack.__call__`. ``preset`` is ``paper`` or ``authors``; settings
override it.
"""


def functional(cls: type[Attack]) -> AttackFunction:
    """The functional form of an attack: one call with its settings among the arguments."""

    def attack(
        model: Any,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        eps: Eps = 16 / 255,
        norm: str = "linf",
        preset: str = "paper",
        targets: Tensor | None = None,
        generator: GeneratorLike = None,
        amp: Amp = False,
        callback: Callback | None = None,
        **settings: Any,
    ) -> Tensor:
        return cls.create(preset, **settings)(
            model,
            images,
            labels,
            eps=eps,
            norm=norm,
            targets=targets,
            generator=generator,
            amp=amp,
            callback=callback,
        )

    attack.__name__ = attack.__qualname__ = cls.info.name.replace("-", "_")
    attack.__module__ = cls.__module__
    attack.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n{_COMMON}"
    attack.__signature__ = _signature(cls, attack)  # type: ignore[attr-defined]
    return attack


def _signature(cls: type[Attack], function: Callable[..., Tensor]) -> inspect.Signature:
    """The common arguments with the attack's settings, whose default None is the preset's."""
    given = inspect.signature(function)
    common = [p for p in given.parameters.values() if p.kind is not p.VAR_KEYWORD]
    if not cls.info.targeted:
        common = [p for p in common if p.name != "targets"]
    own = [
        inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=one.type
        )
        for one in fields(cast(Any, cls))
    ]
    after = [p.name for p in common].index("preset") + 1
    return given.replace(parameters=[*common[:after], *own, *common[after:]])
