"""Defenses in front of models."""

from nrpurify.defenses.protected import MajorityVote, Protected, protect

__all__ = ["MajorityVote", "Protected", "protect"]
