"""What is counted: metrics by name, and those of classification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from nrpurify.core.registry import Registry
from nrpurify.results import Estimate, wilson_interval

M = TypeVar("M", bound="Callable[..., Metric]")


class Metric(Protocol):
    """Counts predictions. One is made for each victim, defense and attack.

    A metric that is right or wrong for each image may keep that as ``hits``, a list of booleans in
    the order of the images. One that compares with clean images, undefended, has an attribute
    ``clean_hits``; the runner sets it before :meth:`compute`. One that counts targets reached has
    ``attack_targets``; the runner sets it before each :meth:`update`: the classes toward which
    these images were led, or None.
    """

    def update(self, predictions: Any, targets: Sequence[Any]) -> None:
        """Count N images: what a victim returned (a tensor of N rows, or a list), and targets."""

    def compute(self, *, seed: int) -> dict[str, Estimate]:
        """Values in [0, 1] by name, with 95 % intervals; ``seed`` for what draws."""


METRICS: Registry[Metric] = Registry(
    "metric", package="nrpurify.evaluation", group="nrpurify.metrics"
)


def register_metric(
    name: str, *, source: str = "", values: tuple[str, ...] = ()
) -> Callable[[M], M]:
    """Decorate a class of :class:`Metric` to make it known by name to plans.

    Args:
        name: What plans call it.
        source: Who defined it.
        values: The names that :meth:`Metric.compute` gives; by default ``name`` alone.

    Raises:
        InputError: The name is taken by another module.

    Examples:
        >>> from nrpurify.results import Estimate
        >>> @nrpurify.register_metric("answers", source="an example")
        ... class Answers:
        ...     def __init__(self):
        ...         self.count = 0
        ...     def update(self, predictions, targets):
        ...         self.count += len(targets)
        ...     def compute(self, *, seed=0):
        ...         return {"answers": Estimate(1.0, 1.0, 1.0, self.count)}
        >>> metric = Answers()
        >>> metric.update(torch.zeros(2, 10), [0, 1])
        >>> metric.compute()["answers"].n
        2
    """
    return METRICS.register(name, source=source, values=values or (name,))


def value_names(spec: str) -> tuple[str, ...]:
    """The names of the values that a metric gives.

    Raises:
        InputError: No such metric.
    """
    from nrpurify.core.spec import parse_one

    names: tuple[str, ...] = METRICS.get(parse_one(spec, "metric").name).info["values"]
    return names


def share_of(hits: Sequence[bool]) -> Estimate:
    """The share of hits with its Wilson interval; 0 of 0 counts as 0, anything is possible."""
    right, count = sum(map(bool, hits)), len(hits)
    return Estimate(right / max(count, 1), *wilson_interval(right, count), count)


@register_metric("accuracy", source="share of right answers")
class Accuracy:
    """The share of images whose class has the highest of the logits.

    Attributes:
        hits: Right answers, in the order of the images.
    """

    tells_success: ClassVar[bool] = True
    """Whether one minus the value is an attack's success rate."""

    def __init__(self) -> None:
        self.hits: list[bool] = []

    def update(self, predictions: Any, targets: Sequence[int]) -> None:
        """Count N×classes logits and N labels from 0."""
        guesses = predictions.argmax(1).tolist()
        self.hits += [guess == int(label) for guess, label in zip(guesses, targets, strict=True)]

    def compute(self, *, seed: int = 0) -> dict[str, Estimate]:
        """``accuracy``; nothing is drawn."""
        return {"accuracy": share_of(self.hits)}


@register_metric("top5", source="label among the five highest logits", values=("top-5 accuracy",))
class TopFive:
    """The share of images whose class is among the five highest of the logits."""

    def __init__(self) -> None:
        self.hits: list[bool] = []

    def update(self, predictions: Any, targets: Sequence[int]) -> None:
        """Count N×classes logits and N labels from 0."""
        best = predictions.topk(min(5, predictions.shape[1]), 1).indices.tolist()
        self.hits += [int(label) in row for row, label in zip(best, targets, strict=True)]

    def compute(self, *, seed: int = 0) -> dict[str, Estimate]:
        """``top-5 accuracy``; nothing is drawn."""
        return {"top-5 accuracy": share_of(self.hits)}


@register_metric("targeted-success", source="answers that are the attack's target")
class TargetedSuccess:
    """The share of images whose answer is the class toward which the attack led.

    It is 0 for clean images and for attacks without targets.

    Attributes:
        attack_targets: Of the images that come next, or None; set by the runner.
    """

    def __init__(self) -> None:
        self.attack_targets: Sequence[int] | None = None
        self.hits: list[bool] = []

    def update(self, predictions: Any, targets: Sequence[int]) -> None:
        """Count N×classes logits."""
        aims = [-1] * len(predictions) if self.attack_targets is None else self.attack_targets
        guesses = predictions.argmax(1).tolist()
        self.hits += [guess == aim for guess, aim in zip(guesses, aims, strict=True)]

    def compute(self, *, seed: int = 0) -> dict[str, Estimate]:
        """``targeted-success``; nothing is drawn."""
        return {"targeted-success": share_of(self.hits)}


@register_metric("conditional-success", source="of clean right answers, the share lost")
class ConditionalSuccess(Accuracy):
    """Of the images that are right when clean and undefended, the share that is wrong now.

    Attributes:
        clean_hits: Right answers to the clean images, undefended; set by the runner.
    """

    tells_success = False

    def __init__(self) -> None:
        super().__init__()
        self.clean_hits: Sequence[bool] = ()

    def compute(self, *, seed: int = 0) -> dict[str, Estimate]:
        """``conditional-success``; n counts the images that were right."""
        pairs = zip(self.hits, self.clean_hits or self.hits, strict=True)
        return {"conditional-success": share_of([not hit for hit, clean in pairs if clean])}
