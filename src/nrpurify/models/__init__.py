"""Victims: classifiers that take images in [0, 1], their preprocessing inside."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.models.classifier": ("Classifier",),
        "nrpurify.models.registry": ("register_victim",),
        "nrpurify.models.victims": (
            *("as_classifier", "imagenet_classes", "load_classifier", "names"),
        ),
    },
)
