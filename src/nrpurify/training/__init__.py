"""Training of purifiers: Algorithm 2 of the paper."""

from nrpurify.training.recipe import Recipe, load_recipe, recipe_from_dict, shipped_recipes
from nrpurify.training.run import Run, Silent, Watcher, train

__all__ = [
    "Recipe",
    "Run",
    "Silent",
    "Watcher",
    "load_recipe",
    "recipe_from_dict",
    "shipped_recipes",
    "train",
]
