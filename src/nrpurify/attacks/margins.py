"""Losses on differences of logits, which do not fade where the cross entropy does."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.goal import Goal
from nrpurify.core.errors import InputError

TINY = 1e-12


def margin(goal: Goal, answers: Tensor) -> Tensor:
    """By how much the logits favor the goal; positive when the attack has succeeded.

    Untargeted the greatest other logit minus the label's, targeted the target's minus the greatest
    other one.

    Args:
        goal: What is wanted.
        answers: N×draws×classes logits.

    Returns:
        N values, means of the draws.

    Raises:
        InputError: A class that the model does not have.
    """
    goal.check(answers.shape[2])
    return goal.sign * _others_lead(answers, goal.classes).mean(1)


def dlr(goal: Goal, answers: Tensor) -> Tensor:
    """The difference-of-logits ratio (Croce & Hein, 2020).

    Untargeted the margin over the distance from the first to the third logit in order; targeted
    the target's logit minus the label's over the distance from the first to the mean of third and
    fourth. It stays the same when all logits are multiplied by, or moved by, a number.

    Args:
        goal: What is wanted; with ``origin`` if it is targeted.
        answers: N×draws×classes logits.

    Returns:
        N values, means of the draws.

    Raises:
        InputError: Fewer than three classes (targeted: four), or a class that there is not.
    """
    goal.check(answers.shape[2])
    if goal.origin is None:
        first, _, third = _top(answers, 3)
        return (_others_lead(answers, goal.classes) / (first - third + TINY)).mean(1)
    first, _, third, fourth = _top(answers, 4)
    gain = _logit(answers, goal.classes) - _logit(answers, goal.origin)
    return (gain / (first - (third + fourth) / 2 + TINY)).mean(1)


def _top(answers: Tensor, count: int) -> tuple[Tensor, ...]:
    if answers.shape[2] < count:
        raise InputError(
            f"the difference-of-logits ratio needs at least {count} classes here; the surrogate "
            f"has {answers.shape[2]}: take the cross entropy (apgd-ce)"
        )
    return answers.topk(count, 2).values.unbind(2)


def _index(answers: Tensor, classes: Tensor) -> Tensor:
    return classes.view(-1, 1, 1).expand(-1, answers.shape[1], 1)


def _logit(answers: Tensor, classes: Tensor) -> Tensor:
    return answers.gather(2, _index(answers, classes))[..., 0]


def _others_lead(answers: Tensor, classes: Tensor) -> Tensor:
    others = answers.scatter(2, _index(answers, classes), -float("inf")).amax(2)
    return others - _logit(answers, classes)
