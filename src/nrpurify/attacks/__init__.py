"""Attacks: what turns images into adversarial ones."""

from nrpurify.attacks.ssp import PRESETS, SSP, SspSettings, ssp

__all__ = ["PRESETS", "SSP", "SspSettings", "ssp"]
