"""Attacks by name, made ready for files: what they do to a batch, and what to write down."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor

from nrpurify.attacks import registry
from nrpurify.attacks.registry import Entry
from nrpurify.attacks.ssp import default_layer, settings, ssp
from nrpurify.attacks.trained import LOADERS, locate
from nrpurify.batch.classifiers import prepare_classifier
from nrpurify.batch.options import Attacker, AttackOptions
from nrpurify.core.checkpoint import read_carded
from nrpurify.core.errors import InputError
from nrpurify.models import features


def prepare_attack(options: AttackOptions) -> Attacker:
    """Load what an attack needs.

    Raises:
        InputError: No such attack (near matches are named), surrogate, layer or preset, a table of
            labels that cannot be used, or a setting that the attack does not have.
        WeightsError: The surrogate's weights are not to be had.
    """
    entry = registry.get(options.name)
    _check_settings(options, entry)
    prepare = {"features": _prepare_ssp, "classifier": prepare_classifier, "none": _prepare_model}
    return prepare[entry.surrogate](options)


def _check_settings(options: AttackOptions, entry: Entry) -> None:
    knows_layers = entry.surrogate == "features" or "features" in entry.settings
    for name, given, known in (
        ("steps", options.steps, "steps" in entry.settings),
        ("step_size", options.step_size, "step_size" in entry.settings),
        ("restarts", options.restarts, "restarts" in entry.settings),
        ("layer", options.layers, knows_layers),
        ("targets", options.targets, "targets" in entry.settings),
        ("surrogate", options.surrogate, entry.surrogate != "none"),
        ("trained", options.trained, entry.name in LOADERS),
    ):
        if given and not known:
            raise InputError(f"{name} was given; {entry.name} has no such setting, leave it out")


def _prepare_ssp(options: AttackOptions) -> Attacker:
    surrogate = options.surrogate or "vgg16"
    plan = settings(options.preset, **options.given)
    layers = options.layers or default_layer(surrogate, plan)
    extractor = features.feature_extractor(surrogate, layers)
    extractor = extractor.to(options.device)

    def perturb(images: Tensor, _: Tensor | None, generators: Sequence[Generator]) -> Tensor:
        return ssp(
            extractor,
            images,
            eps=options.eps,
            preset=options.preset,
            generator=generators,
            amp=options.amp,
            **options.given,
        )

    chosen = {
        **options.given,
        "layers": list(extractor.layers),
        "steps": plan.steps,
        "step_size": plan.step_size,
        "distance": plan.distance,
        "start": str(plan.start),
    }
    return Attacker(perturb, surrogate, None, chosen, (surrogate,), extractor)


def _prepare_model(options: AttackOptions) -> Attacker:
    """Noise, and attacks whose work was done in training."""
    entry = registry.get(options.name)
    model, chosen = None, {**entry.in_force(options.preset), **options.given}
    if entry.name in LOADERS:
        file = locate(options.trained or entry.name)
        model = LOADERS[entry.name](file).to(options.device)
        card, _ = read_carded(file)
        chosen = {**chosen, "trained": file.name, "trained_sha256": card.sha256}

    def perturb(images: Tensor, _: Tensor | None, generators: Sequence[Generator]) -> Tensor:
        return entry.function(
            model,
            images,
            eps=options.eps,
            preset=options.preset,
            generator=generators,
            amp=options.amp,
            **options.given,
        )

    return Attacker(perturb, settings=chosen, network=model)
