"""The networks of a plan, each loaded once, before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from nrpurify import defenses, models
from nrpurify.attacks import registry
from nrpurify.attacks.runner import AttackSpec
from nrpurify.attacks.trained import LOADERS, locate, shipped
from nrpurify.core.checkpoint import read_carded
from nrpurify.core.config import Gathered, Place, at
from nrpurify.core.errors import InputError, MissingExtraError, WeightsError
from nrpurify.core.random import derive_seed
from nrpurify.evaluation.plan import EvaluationPlan, PlannedAttack
from nrpurify.evaluation.provenance import networks_seen
from nrpurify.evaluation.tasks import TASKS, Task
from nrpurify.evaluation.threats import behind_own_purifier, is_random
from nrpurify.weights import weights_hash

Models = Mapping[str, Callable[[Tensor], Tensor]]
"""The user's own models by the names that a plan has for them."""


@dataclass(frozen=True)
class DefenseFacts:
    """What is known of a defense before it is judged.

    Attributes:
        random: Whether it answers differently when asked twice.
        passes: Over how many passes it averages or votes.
        resizes: Whether its images come out in another size.
        seen: Names of the networks whose features trained it, by its cards.
        sha256: Of its weights; empty without any.
    """

    random: bool
    passes: int
    resizes: bool
    seen: tuple[str, ...]
    sha256: str


@dataclass
class Networks:
    """Victims, surrogates and facts about the defenses.

    Attributes:
        device: Where they are.
        seed: From which the random defenses' seeds come.
        task: Loads the victims.
        victims: Classifiers by name.
        surrogates: What transfers attack, by the attack's place in the plan.
        facts: By defense.
        hashes: sha256 of weights, by name of network, defense, ``features of`` a network or
            ``trained`` attack.
        trained: The name among the hashes by name and file of a trained attack.
        own: The user's own classifiers by name.
    """

    device: str
    seed: int
    task: Task
    victims: dict[str, nn.Module] = field(default_factory=dict)
    surrogates: dict[int, nn.Module | Tensor | None] = field(default_factory=dict)
    facts: dict[str, DefenseFacts] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    trained: dict[tuple[str, str], str] = field(default_factory=dict)
    own: Models = field(default_factory=dict)
    _loaded: dict[str, nn.Module] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def load(
        cls,
        plan: EvaluationPlan,
        task: Task,
        probe: Tensor,
        device: str = "cpu",
        own: Models | None = None,
    ) -> Networks:
        """Load all that a plan names.

        Args:
            plan: Checked by :func:`nrpurify.evaluation.plan_checks.check_plan`.
            task: Loads the victims.
            probe: One 1×3×H×W image in [0, 1], with which defenses are tried.
            device: Where to put them.
            own: The user's own classifiers by name.

        Raises:
            RecipeError: Unknown networks, layers or defenses, each with its place.
            WeightsError: Weights are not to be had.
        """
        found, gathered = cls(device, plan.seed, task, own=own or {}), Gathered()
        for index, name in enumerate(plan.victims):
            with gathered.at("victims", index):
                found.victims[name] = found._victim(name)
        found.facts["none"] = DefenseFacts(False, 1, False, (), "")
        for index, spec in enumerate(plan.defenses):
            with gathered.at("defenses", index):
                found.facts[spec] = found._facts(spec, probe)
                found._check_size(spec, plan)
        for index, attack in enumerate(plan.attacks):
            if attack.transfers and not attack.attacked:
                with gathered.at("attacks", index):
                    found.surrogates[index] = found._surrogate(index, attack)
            if attack.name in LOADERS and (attack.trained or attack.name in shipped()):
                with gathered.at("attacks", index, "trained"):
                    card, _ = read_carded(locate(attack.trained or attack.name))
                    found._name_trained(attack, card.sha256)
        gathered.end()
        return found

    def defense(self, spec: str) -> nn.Module:
        """A fresh defense; a random one draws the same each time it is made."""
        seed = derive_seed(self.seed, "defense", spec)
        return defenses.make(spec, device=self.device, seed=seed)

    def _victim(self, name: str) -> nn.Module:
        if self.task.class_labels:  # a victim may be a surrogate too
            return self._keep(name, lambda: self.task.load_victim(name, self.device))
        if name in self.own:
            victim = self.task.wrap_victim(self.own[name], name, self.device)
        else:
            victim = self.task.load_victim(name, self.device)
        self.hashes[name] = self._hash(name, victim)
        return victim

    def _hash(self, name: str, network: nn.Module) -> str:
        """Of a network's weights; one of the user's own is not the file of its name."""
        return weights_hash("" if name in self.own else name, network)

    def _classifier(self, name: str) -> nn.Module:
        return self._keep(name, lambda: models.load_classifier(name).to(self.device))

    def _keep(self, name: str, load: Callable[[], nn.Module]) -> nn.Module:
        if name not in self._loaded:
            own = self.own.get(name)
            found = load() if own is None else models.as_classifier(own, name=name).to(self.device)
            self._loaded[name] = found
            self.hashes[name] = self._hash(name, found)
        return self._loaded[name]

    def _name_trained(self, attack: PlannedAttack, sha256: str) -> None:
        """Keep the hash of a trained attack's own weights (cda, fff), of each file its own."""
        name = " ".join(filter(None, ("trained", attack.name, Path(attack.trained).name)))
        if self.hashes.get(name, sha256) != sha256:  # another file of that name
            name = f"trained {attack.name} {attack.trained}"
        self.hashes[name] = sha256
        self.trained[attack.name, attack.trained] = name

    def _facts(self, spec: str, probe: Tensor) -> DefenseFacts:
        defense = self.defense(spec)
        sha256 = weights_hash(spec, defense)
        if sha256:
            self.hashes[spec] = sha256
        passes = int(getattr(defense, "passes", 1))
        resizes = defense(probe).shape != probe.shape
        if resizes and self.task.keeps_size:
            raise InputError(
                f"{spec} makes {tuple(defense(probe).shape[2:])} pixels of "
                f"{tuple(probe.shape[2:])}; {self.task.name} needs defenses that keep the size"
            )
        self.task.check_passes(spec, passes)
        return DefenseFacts(
            is_random(defense, probe),
            passes,
            resizes,
            networks_seen(defense),
            sha256,
        )

    def _check_size(self, spec: str, plan: EvaluationPlan) -> None:
        identity = [a.name for a in plan.attacks if a.threat == "BPDA" or a.bpda]
        if self.facts[spec].resizes and identity:
            raise InputError(
                f"{spec} changes the size of images, so the identity cannot stand in for it under "
                f"BPDA ({', '.join(identity)}); leave one of them out"
            )

    def _surrogate(self, index: int, attack: PlannedAttack) -> nn.Module | Tensor | None:
        with at("attacks", index, "surrogate"):
            model = attack_spec(attack).load(self._classifier)
        if model is None or isinstance(model, Tensor):
            return None if model is None else model.to(self.device)
        names = surrogate_names(attack)
        if attack.trained or not names:  # cda and fff attack no network
            return model.to(self.device)
        if names[0] not in self._loaded:
            self.hashes[f"features of {names[0]}"] = weights_hash(names[0], model)
        if attack.purifier:
            with at("attacks", index, "purifier"):
                purifier = self.defense(attack.purifier)
            self.hashes[attack.purifier] = weights_hash(attack.purifier, purifier)
            model = behind_own_purifier(attack.threat, model, purifier)
        return model.to(self.device)


def name_problems(plan: EvaluationPlan, own: Models | None = None) -> list[tuple[Place, str]]:
    """What a plan names and nothing has, found without any weights, each with its place."""
    gathered = Gathered()
    named: list[tuple[Place, str]] = []
    with suppress(InputError):
        if TASKS.create(plan.task).class_labels:
            named = [(("victims", index), name) for index, name in enumerate(plan.victims)]
    for index, attack in enumerate(plan.attacks):
        if attack.name in registry.names() and registry.get(attack.name).surrogate == "classifier":
            named += [(("attacks", index, "surrogate"), name) for name in attack.surrogate]
    for place, name in named:
        if name in (own or {}):
            continue
        with suppress(MissingExtraError, WeightsError), gathered.at(*place):
            models.load_classifier(name, pretrained=False)
    for index, spec in enumerate(plan.defenses):
        with suppress(MissingExtraError, WeightsError), gathered.at("defenses", index):
            defenses.make(spec, seed=0)
    return gathered.problems


def attack_spec(attack: PlannedAttack, eps: float = 16 / 255) -> AttackSpec:
    """A plan's attack at one of its budgets."""
    return AttackSpec(
        attack.name,
        attack.surrogate,
        attack.layer,
        eps,
        attack.preset,
        attack.given,
        attack.trained or None,
        use_labels=attack.labels != "predicted",
        targeted=attack.labels == "random",
        norm=attack.norm,
    )


def surrogate_names(attack: PlannedAttack) -> tuple[str, ...]:
    """The networks that a transfer attacks, defaults filled in; none for other attacks."""
    return attack_spec(attack).networks if attack.name and not attack.attacked else ()
