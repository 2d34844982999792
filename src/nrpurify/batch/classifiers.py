"""Attacks on classifiers, made ready for files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import Generator, Tensor, nn

from nrpurify import models, weights
from nrpurify.attacks import registry
from nrpurify.attacks.ensemble import Ensemble
from nrpurify.attacks.presets import Plan, choose
from nrpurify.attacks.registry import Entry
from nrpurify.batch.classes import Classes
from nrpurify.batch.options import Attacker, AttackOptions
from nrpurify.models.features import check_layers


def prepare_classifier(options: AttackOptions) -> Attacker:
    """Load the surrogates of an attack on classifiers, and its labels or targets.

    Raises:
        InputError: A surrogate, layer, preset or table that cannot be used.
        WeightsError: A surrogate's weights are not to be had.
    """
    entry = registry.get(options.name)
    given = _given(options, entry)
    classes = Classes.read(options.labels, options.targets) if entry.labels else None
    plan = choose(entry.presets, options.preset, **given)
    surrogate = options.surrogate or "efficientnet_lite0"
    names = tuple(name.strip() for name in surrogate.split(","))
    model = _load(names, options.device, classes)
    if options.layers:
        check_layers(model, options.layers)
        given["features"] = options.layers
    goal = "targets" if classes is not None and classes.targeted else "labels"

    def perturb(images: Tensor, known: Tensor | None, generators: Sequence[Generator]) -> Tensor:
        return entry.function(
            model,
            images,
            eps=options.eps,
            preset=options.preset,
            generator=generators,
            amp=options.amp,
            **({} if known is None else {goal: known}),
            **given,
        )

    chosen = {
        **asdict(plan),
        **({"step_size": plan.length(options.eps)} if isinstance(plan, Plan) else {}),
        "layers": list(options.layers),
    }
    if entry.labels:
        chosen[goal] = "predicted" if classes is None else weights.file_hash(classes.path)
    return Attacker(perturb, ",".join(names), classes, chosen, names, model)


def _given(options: AttackOptions, entry: Entry) -> dict[str, Any]:
    """Settings that were given; files, which other networks may see, get the whole attack."""
    whole = {"early_stop": False} if "early_stop" in entry.settings else {}
    return {**whole, **options.given}


def _load(names: Sequence[str], device: str, classes: Classes | None) -> nn.Module:
    loaded = [models.load_classifier(name, device=device) for name in names]
    for model in loaded:
        if classes is not None and model.num_classes is not None:
            classes.check_range(model.num_classes)
    return loaded[0] if len(loaded) == 1 else Ensemble(*loaded)
