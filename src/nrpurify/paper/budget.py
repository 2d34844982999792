"""The training budget that all purifiers of an experiment share."""

from __future__ import annotations

from typing import Any

from nrpurify.paper import smoke
from nrpurify.paper.bench import Bench

SMOKE_STEPS, SMALL_STEPS = 2, 300
BRISK = {"lr": 1e-3, "warmup": 20, "schedule": "cosine", "clip": 1.0, "ema": 0.98}
"""Optimization where steps are few: the recipes' own rates hardly leave the start in so many."""


def budget(bench: Bench) -> dict[str, Any]:
    """Settings that replace a training recipe's, so that every variant gets the same.

    At the scale full the recipes' own steps count, unless the bench names others. What is compared
    is what the networks say: the paper's strength, 1, and no gate.
    """
    plain: dict[str, Any] = {"strength": {}, "gate": {}}
    if bench.scale == "full":
        return plain if bench.steps is None else {**plain, "steps": bench.steps}
    shards = bench.pick(1, 20, 0)
    side = bench.pick(smoke.SIDE, 128, 128)
    brisk = {"optimization": BRISK} if bench.scale == "small" else {}
    return {
        **plain,
        **brisk,
        "steps": bench.steps or bench.pick(SMOKE_STEPS, SMALL_STEPS, 0),
        "batch": bench.pick(2, 8, 0),
        "crop": side,
        "resize": (smoke.SIDE, smoke.SIDE) if bench.scale == "smoke" else (192, 330),
        "cache": {"shards": shards, "shard_size": bench.pick(2, 16, 0), "crop": side},
        "validation": {"every": 10**9, "photos": 4, "side": side, "steps": 2},
    }
