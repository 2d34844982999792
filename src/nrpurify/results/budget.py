"""An attack's budget: a distance and the norm in which it is measured."""

from __future__ import annotations

from typing import NamedTuple


class Budget(NamedTuple):
    """How far an attack may change an image.

    Attributes:
        eps: In units of [0, 1] images.
        norm: ``linf`` or ``l2``.
    """

    eps: float
    norm: str = "linf"

    @classmethod
    def of(cls, eps: float | None, norm: str | None) -> Budget | None:
        """That of a result; None of clean images. Results of version 0.1.0 have no norm: ℓ∞."""
        return None if eps is None else cls(eps, norm or "linf")

    def text(self, digits: int = 3) -> str:
        """``16/255``, or ``ℓ2 3``, with at most so many significant digits."""
        if self.norm == "l2":
            return f"ℓ2 {self.eps:.{digits}g}"
        return f"{255 * self.eps:.{digits}g}/255"
