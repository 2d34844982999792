"""Names of results: readable, and another one as soon as anything changes that decides a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nrpurify.core.hashing import digest, slug


def result_id(decides: Mapping[str, Any]) -> str:
    """The id of a result, such as ``ssp-16-fast-alexnet-accuracy-0f1e2d3c4b``.

    Args:
        decides: Everything that decides the value, as plain values: images, weights, settings,
            seeds, versions. ``attack``, ``eps`` (in [0, 1]), ``defense``, ``victim`` and
            ``metric`` are read for the readable part; all of it is hashed.
    """
    eps = decides.get("eps")
    names = [decides.get(key) for key in ("attack", "defense", "victim", "metric")]
    budget = "" if eps is None else f"{255 * eps:.3g}"
    return f"{slug(names[0], budget, *names[1:])}-{digest(decides)[:10]}"
