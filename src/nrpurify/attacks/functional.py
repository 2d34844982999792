"""The functional form of attacks, such as ``attacks.pgd(model, images, labels, steps=40)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol, cast

from torch import Tensor

from nrpurify.attacks.base import Attack
from nrpurify.attacks.constraints import Eps
from nrpurify.attacks.gradient import Callback
from nrpurify.attacks.starts import GeneratorLike
from nrpurify.core.precision import Amp


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
