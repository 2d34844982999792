"""Numbers as people write them: 0.06, or a fraction such as 16/255."""

from nrpurify.core.errors import InputError


def parse_fraction(text: str) -> float:
    """A number, or one number over another.

    Raises:
        ValueError: It is neither.
        ZeroDivisionError: The lower number is zero.
    """
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(text)


def hint_of_255(value: float) -> str:
    """What to add to an error about a distance above 1, which counts 255ths; else empty."""
    return f"; write {value:g} of 255 as {value:g}/255" if value > 1 else ""


def parse_eps(text: str, given: str, norm: str = "linf") -> float:
    """A distance between [0, 1] images: a number or fraction above 0, for L∞ up to 1.

    Args:
        text: What was written.
        given: How an error begins, such as ``--eps is '16'``.
        norm: ``linf``, or ``l2``, whose lengths may be above 1.

    Raises:
        InputError: Neither of them, or outside (0, 1], for ℓ2 not above 0 or not finite; the
            error for an L∞ of 16 suggests 16/255.
    """
    try:
        value = parse_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(
            f"{given}; expected a fraction such as 16/255 or a number such as 0.06"
        ) from None
    if norm == "l2":
        if not 0 < value < float("inf"):
            raise InputError(f"{given}; expected an ℓ2 length above 0, such as 3.0")
        return value
    if not 0 < value <= 1:
        hint = f"; write {text}/255" if 1 < value <= 255 and "/" not in text else ""
        raise InputError(f"{given}; expected a value above 0 and up to 1{hint}")
    return value
