"""Protected models and purifiers in the forms that other libraries take.

Nothing of these libraries is imported before a function that needs it is called.
"""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.interop.art import art_classifier, art_preprocessor
    from nrpurify.interop.datasets import PurifyExamples
    from nrpurify.interop.foolbox import foolbox_model
    from nrpurify.interop.libraries import MissingLibraryError
    from nrpurify.interop.maite import MaiteAugmentation, MaiteClassifier
    from nrpurify.interop.target import Target, torch_model
    from nrpurify.interop.transformers import PurifyingProcessor

__all__ = [
    "MaiteAugmentation",
    "MaiteClassifier",
    "MissingLibraryError",
    "PurifyExamples",
    "PurifyingProcessor",
    "Target",
    "art_classifier",
    "art_preprocessor",
    "foolbox_model",
    "torch_model",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.interop.art": ("art_classifier", "art_preprocessor"),
        "nrpurify.interop.datasets": ("PurifyExamples",),
        "nrpurify.interop.foolbox": ("foolbox_model",),
        "nrpurify.interop.libraries": ("MissingLibraryError",),
        "nrpurify.interop.maite": ("MaiteAugmentation", "MaiteClassifier"),
        "nrpurify.interop.target": ("Target", "torch_model"),
        "nrpurify.interop.transformers": ("PurifyingProcessor",),
    },
)
