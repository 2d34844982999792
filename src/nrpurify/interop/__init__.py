"""Protected models and purifiers in the forms that other attack libraries take.

Nothing of these libraries is imported before a function that needs it is called.
"""

from nrpurify.interop.art import art_classifier, art_preprocessor
from nrpurify.interop.foolbox import foolbox_model
from nrpurify.interop.libraries import MissingLibraryError
from nrpurify.interop.target import Target, torch_model

__all__ = [
    "MissingLibraryError",
    "Target",
    "art_classifier",
    "art_preprocessor",
    "foolbox_model",
    "torch_model",
]
