"""One attack of a plan, from the options of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nrpurify.attacks import registry
from nrpurify.attacks.spec import merge_settings, read_spec
from nrpurify.core.errors import InputError
from nrpurify.core.spec import split_specs
from nrpurify.evaluation.networks import attack_spec
from nrpurify.evaluation.plan import PlannedAttack


def simple_attack(
    spec: str,
    eps: float | Sequence[float],
    *,
    surrogate: str | None = None,
    layer: str | None = None,
    preset: str = "paper",
    norm: str = "linf",
    trained: str | Path | None = None,
    skip_unknown: bool = False,
    label: str = "",
    toward_random: bool = False,
    **options: Any,
) -> PlannedAttack:
    """A transfer by its spec, such as ``mi-fgsm:momentum=0.9``, and by options of a command.

    Args:
        spec: Name and settings.
        eps: Budgets.
        surrogate: Specs with commas between; None for SSP's VGG16.
        layer: For ssp and tap.
        preset: ``paper`` or ``authors``.
        norm: Of the budgets.
        trained: File of a generator (cda) or pattern (fff).
        skip_unknown: Leave options out that the attack does not have, where several attacks share
            them.
        label: See :class:`~nrpurify.evaluation.plan.PlannedAttack`.
        toward_random: Toward a class drawn for each image, see
            :class:`~nrpurify.evaluation.plan.PlannedAttack`.
        options: Settings such as ``steps``; None is one that was not given.

    Raises:
        InputError: No such attack or setting, one given twice, or no surrogate where it needs one.
    """
    name, settings = read_spec(spec)
    entry = registry.get(name)
    needs = entry.surrogate
    if skip_unknown:
        options = {key: value for key, value in options.items() if key in entry.settings}
        surrogate = surrogate if needs == "features" else None
        layer = layer if needs == "features" else None
    merged = merge_settings(settings, **options)
    if needs == "classifier" and not surrogate and not skip_unknown:
        raise InputError(
            f"{name} works on a classifier; name one that is none of the victims, such as "
            "--surrogate xception_ridge (in a plan surrogate: xception_ridge). To attack the "
            "victims themselves, write a plan with threat: full gradient"
        )
    named = {key: merged.pop(key, None) for key in ("steps", "step_size")}
    made = PlannedAttack(
        name,
        (eps,) if isinstance(eps, int | float) else tuple(eps),
        "oblivious transfer",
        tuple(split_specs(surrogate or "")),
        () if layer is None else (layer,),
        preset,
        norm,  # type: ignore[arg-type]
        **named,
        settings=merged,
        labels="random" if toward_random else "given",
        trained="" if trained is None else str(trained),
        label=label,
    )
    attack_spec(made, made.eps[0]).check()
    return made
