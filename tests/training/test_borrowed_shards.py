import pytest
import torch
from safetensors.torch import load_file

from nrpurify.core.errors import WeightsError
from nrpurify.paper.trained import _check_budget
from nrpurify.training import train
from nrpurify.training.adversaries import AdversaryMaker
from nrpurify.training.adversary_cache import AdversaryCache, borrow_shards, shard_settings
from nrpurify.training.photos import split_photos


@pytest.fixture
def first(micro, photo_folder, tmp_path):
    train(photo_folder, tmp_path / "first", micro.recipe())
    return tmp_path / "first"


def test_borrowed_shards_are_those_that_the_run_would_make(first, micro, photo_folder, tmp_path):
    recipe = micro.recipe(losses={"pixel": 7.0, "adversarial": 0.0, "features": []}, steps=9)
    borrow_shards(recipe, tmp_path / "second", first)
    borrowed = sorted((tmp_path / "second" / "adversaries-0").iterdir())
    assert [shard.name for shard in borrowed] == [
        shard.name for shard in sorted((first / "adversaries-0").iterdir())
    ]
    photos, _ = split_photos(photo_folder, recipe.holdout)
    own = AdversaryCache(AdversaryMaker(recipe, photos, torch.device("cpu")), tmp_path / "own")
    own.add_shard()
    mine, theirs = load_file(own.path(0)), load_file(borrowed[0])
    assert all(torch.equal(mine[name], theirs[name]) for name in ("clean", "adversarial"))


def test_a_run_with_another_diet_borrows_nothing(first, micro, tmp_path):
    for changes in ({"seed": 8}, {"eps": 0.01}, {"adversaries": [{"kind": "noise"}]}):
        assert shard_settings(micro.recipe(**changes)) != shard_settings(micro.recipe())
        borrow_shards(micro.recipe(**changes), tmp_path / "second", first)
        assert not (tmp_path / "second").exists()


def test_shards_that_are_there_are_left_alone(first, micro, tmp_path):
    kept = tmp_path / "second" / "adversaries-0" / "shard-00000.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    borrow_shards(micro.recipe(), tmp_path / "second", first)
    assert kept.read_bytes() == b"mine"
    assert len(list(kept.parent.iterdir())) > 1


@pytest.mark.parametrize("text", ["", "[" * 5000, '{"steps": "many"}', "[1]"])
def test_a_damaged_recipe_of_another_run_is_named(micro, tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(WeightsError, match=r"recipe\.json cannot be read"):
        borrow_shards(micro.recipe(), tmp_path / "second", tmp_path)
    with pytest.raises(WeightsError, match=r"recipe\.json cannot be read"):
        _check_budget(tmp_path, micro.recipe())
