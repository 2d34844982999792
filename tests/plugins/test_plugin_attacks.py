"""Attacks of a plug-in: in plans, and by name in errors."""

import pytest
import torch
from torch import nn

from nrpurify import protect
from nrpurify.attacks import Attack, register_attack
from nrpurify.attacks.registry import ATTACKS
from nrpurify.core.errors import InputError
from nrpurify.evaluation import EvaluationPlan, PlannedAttack, plan_from_dict
from nrpurify.evaluation.plan_checks import check_plan, is_score_based


@pytest.fixture
def guess():
    @register_attack("guess", needs="scores")
    class Guess(Attack):
        """Asks for scores on both sides of an image."""

        def perturb(self, problem):
            for sign in (1, -1):
                problem.model(problem.clean + sign * 0.01 * torch.ones_like(problem.clean))
            return problem.clean

    yield Guess()
    ATTACKS.forget("guess")


def test_an_attack_on_scores_is_score_based(guess):
    assert is_score_based("guess")
    plan = plan_from_dict({"attacks": [{"name": "guess"}], "victims": ["a"]})
    assert plan.attacks[0].threat == "score-based"
    check_plan(plan)
    plain = PlannedAttack("guess")
    with pytest.raises(InputError, match=r"surrogate: none given; .* or threat 'score-based'"):
        check_plan(EvaluationPlan(victims=("a",), attacks=(plain,)))
    white = PlannedAttack("guess", threat="BPDA")
    with pytest.raises(InputError, match=r"threat: BPDA given; square, .*guess go with score"):
        check_plan(EvaluationPlan(victims=("a",), attacks=(white,)))


def test_a_missing_clamp_names_the_plug_in_and_the_clamp(guess):
    victim = protect(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), nn.Identity())
    said = r"guess of the plug-in .*test_plugin_attacks: images .*: a little outside.*clamp\(0, 1\)"
    with pytest.raises(InputError, match=said):
        guess(victim, torch.ones(1, 3, 2, 2), torch.tensor([0]), eps=0.1)
