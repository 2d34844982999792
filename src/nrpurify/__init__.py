"""Protect any vision model from adversarial examples with one purifier network."""

__version__ = "0.1.0"
