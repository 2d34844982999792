"""Training: the purifier (Algorithm 2 of the paper), CDA, FFF and the segmenter."""

from nrpurify.training.cda import AttackValidation, CdaRecipe, CdaRun
from nrpurify.training.fff import FffRecipe, make_fff
from nrpurify.training.purifier_recipe import Recipe, load_recipe
from nrpurify.training.purifier_run import PurifierRun, train
from nrpurify.training.recipe import TrainingRecipe
from nrpurify.training.run import TrainingRun
from nrpurify.training.segmenter import SegNetRecipe, SegNetRun, train_segnet

__all__ = [
    "AttackValidation",
    "CdaRecipe",
    "CdaRun",
    "FffRecipe",
    "PurifierRun",
    "Recipe",
    "SegNetRecipe",
    "SegNetRun",
    "TrainingRecipe",
    "TrainingRun",
    "load_recipe",
    "make_fff",
    "train",
    "train_segnet",
]
