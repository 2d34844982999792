"""Victims: classifiers that take images in [0, 1], their preprocessing inside."""

from nrpurify.models.classifier import Classifier
from nrpurify.models.registry import register_victim
from nrpurify.models.victims import as_classifier, imagenet_classes, load_classifier, names

__all__ = [
    "Classifier",
    "as_classifier",
    "imagenet_classes",
    "load_classifier",
    "names",
    "register_victim",
]
