"""Training of purifiers, Algorithm 2 of the paper, and of the attacks CDA and FFF."""

from nrpurify.training.attack_recipe import (
    AttackValidation,
    CdaRecipe,
    FffRecipe,
    load_attack_recipe,
    shipped_attack_recipes,
)
from nrpurify.training.cda_run import CdaRun
from nrpurify.training.fff_run import make_fff
from nrpurify.training.recipe import Recipe, load_recipe, recipe_from_dict, shipped_recipes
from nrpurify.training.run import Run, Silent, Watcher, train

__all__ = [
    "AttackValidation",
    "CdaRecipe",
    "CdaRun",
    "FffRecipe",
    "Recipe",
    "Run",
    "Silent",
    "Watcher",
    "load_attack_recipe",
    "load_recipe",
    "make_fff",
    "recipe_from_dict",
    "shipped_attack_recipes",
    "shipped_recipes",
    "train",
]
