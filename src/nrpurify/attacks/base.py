"""The base of all attacks: fields are settings, and the base keeps what every attack must keep.

A new attack is one class with :meth:`Attack.perturb`. The base checks images, budget, labels and
targets, freezes the model, gives each image its own generator, and refuses results that are out of
the budget or of [0, 1], of another shape, NaN or infinite.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol, TypeVar, cast, dataclass_transform

import torch
from torch import Tensor, nn

from nrpurify.attacks.constraints import Eps, check_norm, per_sample
from nrpurify.attacks.forward import predict as predict_classes
from nrpurify.attacks.gradient import (
    Callback,
    enable_attack_grad,
    outside_inference,
)
from nrpurify.attacks.info import AttackInfo
from nrpurify.attacks.losses import Criterion, given_criterion
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.starts import GeneratorLike, check_generators
from nrpurify.attacks.surrogate import for_convolutions, frozen
from nrpurify.core.errors import AttackError, InputError
from nrpurify.core.image_checks import check_images
from nrpurify.core.precision import Amp, at_least_fp32, keep_freed_memory
from nrpurify.core.registry import naming_plugin, near_matches

A = TypeVar("A", bound="Attack")
TOLERANCE = 1e-5
"""Rounding errors of arithmetic that a result may show before it is projected."""
PRESETS = ("paper", "authors")
"""The paper's own tables, and the attack's published code; every attack knows both."""
Range = tuple[Callable[[Any], bool], str]
"""Whether a number can be a setting, and what is expected."""
COUNT: Range = (
    lambda value: isinstance(value, Integral) and int(value) >= 1,
    "at least 1, a whole number",
)
POSITIVE: Range = (lambda value: 0 < value < inf, "more than 0, and finite")
NOT_NEGATIVE: Range = (lambda value: 0 <= value < inf, "0 or more, and finite")
SHARE: Range = (lambda value: 0 < value <= 1, "a value in (0, 1]")
RANGES: dict[str, Range] = {
    **dict.fromkeys(("steps", "restarts", "copies", "samples", "blocks"), COUNT),
    "radius": POSITIVE,
    "start_share": SHARE,
    "momentum": NOT_NEGATIVE,
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
    ranges: ClassVar[Mapping[str, Range]] = {}
    """Ranges of numbers among its settings, beside :data:`RANGES`."""
    one_network: ClassVar[bool] = False
    """Whether it refuses ensembles."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the subclass a dataclass."""
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        """Check the ranges; subclasses check what else there is and call this."""
        for name, (fits, expected) in {**RANGES, **self.ranges}.items():
            value = getattr(self, name, None)
            if value is not None and not (isinstance(value, Real) and fits(value)):
                raise InputError(f"{name} is {value!r}; expected {expected}")

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

    def in_force(self, norm: str = "linf") -> dict[str, Any]:
        """The settings as they act under a norm, where an attack derives one from others."""
        return self.settings()

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
                ``nrpurify.attacks.runner`` for results that do not depend on it.
            callback: Called after each step with its number from 1 and the N losses before it
                (minus the loss when targeted).

        Returns:
            Adversarial images of the same shape and dtype, within ``eps`` and [0, 1].

        Raises:
            InputError: Images, eps, labels, targets, generators or a model's answer that cannot be
                used.
            AttackError: The attack's own code broke the budget, or returned no such images.
        """
        keep_freed_memory()
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
            if self.info.needs in ("classifier", "scores") and not callable(model):
                raise InputError(
                    f"the model is a {type(model).__name__}; {self.info.name} expected a module "
                    "or a function of N×3×H×W images"
                )
            criterion = given_criterion(clean, labels, targets) if self.info.labels else None
            networks = [value for value in vars(self).values() if isinstance(value, nn.Module)]
            with frozen(model, *map(outside_inference, networks)):
                if criterion is None and self.info.labels:
                    criterion = Criterion(predict_classes(model, clean, amp))
                clean = for_convolutions(model, clean)
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
        check_generators(generator, count)

    def _checked(self, problem: AttackProblem, found: Tensor, dtype: torch.dtype) -> Tensor:
        name, clean = self.info.name, problem.clean
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if shape != tuple(clean.shape):
            raise AttackError(
                f"the attack {name} made {tuple(clean.shape)} into {shape}; expected the same shape"
            )
        found = found.detach().to(clean)
        low, high = (float(value) for value in found.aminmax()) if len(found) else (0.0, 1.0)
        if not (isfinite(low) and isfinite(high)):  # as it is where a single value is NaN
            raise AttackError(f"the attack {name} returned NaN or infinite values; expected images")
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
        return problem.ball.cast(problem.project(found), dtype).contiguous()


def _own(attack: Attack) -> bool:
    return type(attack).__module__.partition(".")[0] == __name__.partition(".")[0]


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
