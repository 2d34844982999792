"""The one shape of a victim: images in [0, 1] go in, logits come out."""

import torch
from torch import Tensor, nn

from nrpurify.core.callables import call_with_rgb
from nrpurify.core.errors import InputError
from nrpurify.core.image_checks import check_range, check_shape
from nrpurify.core.precision import weights_dtype
from nrpurify.core.registry import naming_plugin
from nrpurify.core.resizing import resize
from nrpurify.core.scale import seen_size
from nrpurify.core.tracing import exporting
from nrpurify.weights import Preprocessing


class Classifier(nn.Module):
    """A network with its preprocessing inside, differentiable from the logits to the image.

    Images of another size than ``input_size`` are resized as a whole (bilinear, antialiased, no
    crop, the aspect ratio gives way). Images that input diversity, R&P or super-resolution made r
    times larger are seen at r times ``input_size``, unless ``fixed_size`` is set. Then the channels
    are put into the network's order and normalized by ``mean`` and ``std``, both of shape 3×1×1 in
    units of [0, 1]. The network gets them in the precision of its weights, and the logits have it.

    Args:
        network: Takes the preprocessed N×3×size×size and returns logits N×``num_classes``.
        name: What reports call it.
        num_classes: Number of logits; None admits any.
        preprocessing: What ``network`` expects; None leaves the images as they are.
        check: Refuse images outside of [0, 1], unless their values are traced (``torch.export``,
            ``torch.compile``, ``torch.func``). It reads one value back from a GPU for each call.
        fixed_size: Whether ``network`` takes no other side than its own, as transformers do.

    Attributes:
        origin: The user's module or file that made ``network``; empty for the package's own. Errors
            of such a network name it.
        source_sha256: Of that file; empty for the package's own.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        num_classes: int | None,
        preprocessing: Preprocessing | None = None,
        check: bool = False,
        fixed_size: bool = True,
    ) -> None:
        super().__init__()
        used = preprocessing or Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        self.network = network
        self.name = name
        self.num_classes = num_classes
        self.input_size = used.size
        self.bgr = used.bgr
        self.check = check
        self.fixed_size = fixed_size
        self.origin, self.source_sha256 = "", ""
        self.register_buffer("mean", torch.tensor(used.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(used.std).view(3, 1, 1), persistent=False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Return what the network sees: N×3×H×W in [0, 1] to N×3×size×size, normalized."""
        side = self.input_size
        size = None if side is None else (side, side) if self.fixed_size else seen_size(side)
        if size is not None and (exporting() or images.shape[2:] != size):
            images = resize(images, size)
        if self.bgr:
            images = images.flip(1)
        return (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits N×C of images N×3×H×W in [0, 1].

        Raises:
            InputError: the images or the returned logits have another shape, or images are
                outside of [0, 1] and ``check`` is set.
        """
        check_shape(images, f"the batch for {self.name}")
        if self.check:
            check_range(images, f"the batch for {self.name}")
        shown = self.preprocess(images)
        shown = shown.to(weights_dtype(self.network, shown))
        if self.origin:
            with naming_plugin(self.name, self.origin):
                logits = call_with_rgb(self.network, shown)
        else:
            logits = call_with_rgb(self.network, shown)
        count, classes = images.shape[0], self.num_classes  # len() would fix the batch of an export
        if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point():
            raise self._unexpected(logits, images)
        if logits.shape[0] != count or logits.shape[1] != (classes or logits.shape[1]):
            raise self._unexpected(logits, images)
        return logits

    def _unexpected(self, logits: object, images: Tensor) -> InputError:
        """The error about an output that is no N×C logits."""
        kind = f"a {type(logits).__name__}"
        if isinstance(logits, Tensor):
            kind = f"shape {tuple(logits.shape)}"
            kind += "" if logits.is_floating_point() else f" of {logits.dtype}"
        return InputError(
            f"{self.name} returned {kind} for images of shape {tuple(images.shape)}; expected "
            f"logits ({len(images)}, {self.num_classes or 'C'})"
        )
