"""NAA, steps against what each neuron contributes to the label (Zhang et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from nrpurify.attacks.base import functional
from nrpurify.attacks.fia import FeatureImportance
from nrpurify.attacks.problem import AttackProblem
from nrpurify.attacks.registry import register_attack


@register_attack("naa", source="Zhang et al., 2022", targeted=False)
class NAA(FeatureImportance):
    """MI-FGSM down what the neurons of a layer contribute to the label's probability.

    The contribution of a neuron is its value, from that of a black image on, times the mean
    gradient of the label's probability on the straight way from the black image to the image.
    Positive and negative contributions count alike, as in the published code's default.
    ``samples`` + ``steps`` gradients an image. For the layer see
    :class:`~nrpurify.attacks.fia.FIA`.

    Attributes:
        steps: Number of steps.
        step_size: In (0, 1], one value or one an image; by default eps / steps.
        momentum: Decay of the accumulated gradients.
        diversity: Has to be 0.
        smoothing: Odd side of the Gaussian filter of the gradient (TI), 0 for none.
        features: Names of layers of the model; by default one in its middle, of each member.
        samples: Number of points on the way.

    Raises:
        InputError: A layer that does not exist, or a model in which none can be looked up.
    """

    def images(self, problem: AttackProblem) -> Iterable[Tensor]:
        """Points of the way from black on."""
        return (problem.clean * (step / self.samples) for step in range(self.samples))


naa = functional(NAA)
