"""Threat models in the order in which a reader needs them."""

from __future__ import annotations

from nrpurify.core.spec import same_network, split_specs

CLEAN, OBLIVIOUS, FULL, EOT = "none", "oblivious transfer", "full gradient", "EOT"

THREATS = {
    CLEAN: ("Clean images", ""),
    OBLIVIOUS: ("Oblivious transfer", "knows neither defense nor victim"),
    "surrogate purifier": ("Surrogate purifier", "differentiates through a purifier of its own"),
    "surrogate purifier + BPDA": ("Surrogate purifier + BPDA", "trained a purifier of its own"),
    "BPDA": ("BPDA", "knows all, goes around the defense's gradient"),
    FULL: ("Full gradient", "knows all, differentiates through the defense"),
    EOT: ("EOT", "knows all, averages over the defense's random draws"),
    "score-based": ("Score-based", "asks the defended model, needs no gradient"),
}
"""Heading, and what the attacker knows or does, by threat."""

_TRANSFERS = (OBLIVIOUS, "surrogate purifier", "surrogate purifier + BPDA")


def rank(threat: str) -> int:
    """Place in the order; threats without a place come last."""
    names = list(THREATS)
    return names.index(threat) if threat in names else len(names)


def is_own_surrogate(threat: str, surrogate: str | None, victim: str) -> bool:
    """Whether a transferred attack was made on the very victim: then it is no transfer."""
    names = split_specs(surrogate or "")
    return threat in _TRANSFERS and any(same_network(victim, name) for name in names)
