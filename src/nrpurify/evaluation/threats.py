"""Threat models: what an attacker sees of victim and defense, and whether gradients reach him.

* ``oblivious transfer``: a surrogate; neither defense nor victim.
* ``surrogate purifier``: a surrogate behind a purifier of the attacker's own, end to end.
* ``surrogate purifier + BPDA``: the same, with the gradient of the identity through that purifier
  (Table 3).
* ``BPDA``: victim and defense; through the defense the gradient is that of the identity.
* ``full gradient``: victim and defense, differentiated from end to end.
* ``EOT``: the same, averaged over several draws of a random defense.
* ``score-based``: the scores of the defended victim, no gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nrpurify.attacks.forward import cross_entropy
from nrpurify.attacks.gradient import value_and_gradient
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.surrogate import frozen
from nrpurify.attacks.wrappers import BPDA, EOT
from nrpurify.defenses import Protected, protect
from nrpurify.evaluation.plan import OWN_PURIFIER, PlannedAttack

WHITE_BOX = ("BPDA", "full gradient", "EOT")
BLACK_BOX = ("oblivious transfer", *OWN_PURIFIER, "score-based")


def target(attack: PlannedAttack, victim: nn.Module, defense: nn.Module) -> nn.Module:
    """What an attack on the defended victim itself works on.

    A defense that averages several passes is attacked through one pass, or with EOT through as many
    as ``attack.draws`` says.

    Args:
        attack: With a threat that is no transfer.
        victim: A classifier.
        defense: Maps images to images.
    """
    if attack.threat == "score-based":
        return protect(victim, defense)
    one_pass = BPDA(defense) if attack.threat == "BPDA" or attack.bpda else defense
    model = Protected(victim, one_pass)
    return EOT(model, attack.draws, batched=False) if attack.threat == "EOT" else model


def behind_own_purifier(threat: str, surrogate: nn.Module, purifier: nn.Module) -> nn.Module:
    """The surrogate as an attacker with a purifier sees it; Table 3's goes around it by BPDA."""
    around = threat == "surrogate purifier + BPDA"
    return Protected(surrogate, BPDA(purifier) if around else purifier)


class GradientCheck(NamedTuple):
    """Shares of images whose gradient is zero everywhere, and whose is not finite."""

    zero: float
    broken: float


def check_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> GradientCheck:
    """Look at the gradient of the cross entropy of N×3×H×W images with their N labels."""
    with frozen(model):
        _, gradient = value_and_gradient(cross_entropy(model, Criterion(labels)), images)
    rows = gradient.flatten(1)
    finite = rows.isfinite().all(1)
    zero = (rows == 0).all(1)
    return GradientCheck(float(zero.float().mean()), float((~finite).float().mean()))


@torch.no_grad()
def is_random(defense: nn.Module, images: Tensor) -> bool:
    """Whether a defense answers differently when asked twice."""
    return not torch.equal(defense(images), defense(images))
