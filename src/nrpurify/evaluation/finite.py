"""Results that hold NaN end the work: an argmax would make a class of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nrpurify.core.errors import InputError


def check_finite(values: Tensor, names: Sequence[str], what: str, defense: str) -> None:
    """Raise InputError unless N×... ``values`` are finite; it names defense and first image.

    Args:
        values: Images or scores, one row an image.
        names: Of the N images.
        what: What they are, such as ``logits of resnet50``.
        defense: What stands in front.
    """
    if values.isfinite().all():
        return
    broken = (~values.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    more = f" and {len(broken) - 1} more images" if len(broken) > 1 else ""
    raise InputError(
        f"{what} behind the defense {defense!r} hold NaN or infinite values for "
        f"{names[broken[0]]}{more}; expected finite ones: check the weights of both networks, and "
        "the precision"
    )
