"""Appendix table 1: targeted PGD through a dynamic purifier, and what stronger attackers do to it.

The paper judges the random purifier by BPDA through one draw. The authors' published script has
another recipe: exact gradient through the static purifier, a clean start, 10 steps of 2/255, and
dynamic purification of the result. Both stand here, with the full gradient and EOT beside them,
because one draw of a random defense says little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify import attacks, defenses
from nrpurify.attacks import BPDA, EOT, random_targets
from nrpurify.core.errors import InputError
from nrpurify.defenses import Protected
from nrpurify.evaluation.diagnostics import find_warnings
from nrpurify.evaluation.finite import check_finite
from nrpurify.evaluation.label_check import FIRST, asked, label_doubt
from nrpurify.evaluation.provenance import networks_seen
from nrpurify.models import Classifier
from nrpurify.paper import trained
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Outcome
from nrpurify.paper.provenance import hashes, images_digest, photographs
from nrpurify.paper.runfolder import accuracy, run_of
from nrpurify.results import Result

EPS, STEPS = 16, 10
DRAWS = 8
AUTHORS = "authors' recipe"
"""Exact gradient through the static purifier from a clean start, judged behind the dynamic one."""
Answer = tuple[Result, tuple[str, str]]


def _threats(bench: Bench, victim: nn.Module, defense: nn.Module) -> dict[str, nn.Module]:
    return {
        "BPDA": Protected(victim, BPDA(defense)),
        "full gradient": Protected(victim, defense),
        "EOT": EOT(Protected(victim, defense), _draws(bench), batched=False),
    }


def _draws(bench: Bench) -> int:
    return bench.pick(2, DRAWS, 30)


@dataclass(frozen=True)
class _Scene:
    bench: Bench
    images: Tensor
    labels: Tensor
    victim: Classifier
    defense: nn.Module
    decides: dict[str, Any]

    def judge(
        self,
        model: nn.Module,
        attacked: nn.Module | None = None,
        *,
        start: str = "uniform",
        **known: Any,
    ) -> Result:
        """Accuracy of ``model`` on clean images, or under targeted PGD on ``attacked``."""
        images, defended = self.images, "defense" in known
        settings = {
            "random": defended,
            "passes": 1,
            "seen_in_training": list(networks_seen(self.defense)) if defended else [],
            "in_mean": True,
            "classes": self.victim.num_classes or 1000,
        }
        if attacked is not None:
            images = self._attack(attacked, start)
            known |= {"attack": "pgd", "eps": EPS / 255, "steps": STEPS}
            settings |= {"targets": "random", "start": start}
        known["settings"] = settings
        hits = _answers(model, images).argmax(1) == self.labels
        return accuracy(self.bench, hits, self.decides, victim=self.victim.name, **known)

    def _attack(self, model: nn.Module, start: str) -> Tensor:
        generator = self.bench.generator()
        targets = random_targets(self.labels, self.victim.num_classes or 1000, generator)
        parts = zip(*(torch.split(x, 4) for x in (self.images, self.labels, targets)), strict=True)
        made = [
            attacks.pgd(
                model,
                x,
                y,
                eps=EPS / 255,
                steps=STEPS,
                start=start,
                targets=to,
                generator=generator,
            )
            for x, y, to in parts
        ]
        return torch.cat(made)


@torch.no_grad()
def _answers(model: nn.Module, images: Tensor) -> Tensor:
    found = torch.cat([model(part) for part in torch.split(images, 8)])
    names = [f"image {number}" for number in range(1, len(images) + 1)]
    check_finite(found, names, "logits", "none or nrp")
    return found


def _check_labels(bench: Bench, victim: Classifier, images: Tensor, labels: Tensor) -> None:
    """Raise InputError for labels that the undefended victim's answers deny."""
    if bench.scale == "smoke":  # its networks know nothing
        return
    guesses, classes = asked({victim.name: victim}, images)
    if doubt := label_doubt(guesses, labels, classes[victim.name]):
        raise InputError(f"--labels {bench.labels}: {doubt}")


def _static(bench: Bench) -> str:
    spec = trained.spec(bench, "nrp")
    assert spec is not None
    return spec


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Judge the victim plain and purified, by each of the attacks."""
    images, labels, _ = bench.load()
    victim = bench.classifier("Res-152")
    _check_labels(bench, victim, images[:FIRST], labels[:FIRST])
    spec = trained.spec(bench, "nrp:mode=dynamic")
    assert spec is not None
    defense = defenses.make(spec, device=bench.device, seed=bench.seed)
    defended = Protected(victim, defense)
    weights = hashes(bench, {victim.name: victim, spec: defense})
    decides = {"images": images_digest(bench), "weights": weights}
    scene = _Scene(bench, images, labels, victim, defense, decides)
    found: list[Answer] = [
        (scene.judge(victim), ("Original", "Clean")),
        (scene.judge(defended, defense=spec), ("NRP", "Clean")),
        (
            scene.judge(victim, victim, threat="full gradient"),
            ("Original", "Adversarial ε 16/255"),
        ),
    ]
    for threat, model in _threats(bench, victim, defense).items():
        bench.progress.note(f"targeted PGD, {threat}")
        draws = model.eot_samples if isinstance(model, EOT) else 1
        cell = scene.judge(defended, model, threat=threat, defense=spec, draws=draws)
        column = "Adversarial ε 16/255" + ("" if threat == "BPDA" else f", {threat}")
        found.append((cell, ("NRP", column)))
    bench.progress.note("targeted PGD, the authors' recipe")
    static = Protected(victim, defenses.make(_static(bench), device=bench.device))
    cell = scene.judge(defended, static, start="clean", threat="full gradient", defense=spec)
    note = "made through the static purifier, judged behind the dynamic"
    cell = replace(cell, notes=(*cell.notes, note))
    found.append((cell, ("NRP", f"Adversarial ε 16/255, {AUTHORS}")))
    title = "Appendix table 1: targeted PGD and the dynamic purifier"
    cells = [cell for cell, _ in found]
    run = run_of(
        bench,
        "appendix-table1",
        title,
        cells,
        data=[photographs(bench)],
        weights=weights,
        settings={
            "victim": victim.name,
            "defense": defenses.settings(spec),
            "attack": {
                "name": "pgd",
                "preset": "paper",
                "eps": EPS / 255,
                "steps": STEPS,
                "targets": "random",
            },
            "eot_draws": _draws(bench),
        },
    )
    run = replace(run, warnings=find_warnings(cells))
    return Outcome(run, {cell.id: place for cell, place in found})
