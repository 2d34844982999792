import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from nrpurify.core.errors import WeightsError
from nrpurify.core.image_files import find_images
from nrpurify.core.images import read_image, write_png
from nrpurify.paper import Bench
from nrpurify.paper.trained import _check_budget, train_one
from nrpurify.training import train
from nrpurify.training.adversaries import AdversaryMaker
from nrpurify.training.adversary_cache import (
    AdversaryCache,
    borrow_shards,
    kept_shards,
    shard_settings,
)
from nrpurify.training.photos import split_photos
from nrpurify.training.run_folder import files_hash


@pytest.fixture
def first(micro, photo_folder, tmp_path):
    train(photo_folder, tmp_path / "first", micro.recipe())
    return tmp_path / "first"


@pytest.fixture
def data(photo_folder):
    return files_hash(file.path for file in find_images(photo_folder, recursive=True))


def test_borrowed_shards_are_those_that_the_run_would_make(
    first, micro, photo_folder, data, tmp_path
):
    recipe = micro.recipe(losses={"pixel": 7.0, "adversarial": 0.0, "features": []}, steps=9)
    borrow_shards(recipe, tmp_path / "second", first, data)
    borrowed = sorted((tmp_path / "second" / "adversaries-0").iterdir())
    assert [shard.name for shard in borrowed] == [
        shard.name for shard in sorted((first / "adversaries-0").iterdir())
    ]
    photos, _ = split_photos(photo_folder, recipe.holdout)
    own = AdversaryCache(AdversaryMaker(recipe, photos, torch.device("cpu")), tmp_path / "own")
    own.add_shard()
    mine, theirs = load_file(own.path(0)), load_file(borrowed[0])
    assert all(torch.equal(mine[name], theirs[name]) for name in ("clean", "adversarial"))


def test_a_run_with_another_diet_borrows_nothing(first, micro, data, tmp_path):
    for changes in ({"seed": 8}, {"eps": 0.01}, {"adversaries": [{"kind": "noise"}]}):
        assert shard_settings(micro.recipe(**changes)) != shard_settings(micro.recipe())
        borrow_shards(micro.recipe(**changes), tmp_path / "second", first, data)
        assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("known", [True, False])
def test_shards_of_other_photos_are_not_borrowed(first, micro, photo_folder, tmp_path, known):
    """A run of a version without ``origin.json`` does not say which photos it had."""
    if not known:
        (first / "origin.json").unlink()
    photos, _ = split_photos(photo_folder, 0)
    borrow_shards(micro.recipe(), tmp_path / "second", first, files_hash(photos[1:]))
    assert not (tmp_path / "second").exists()


@pytest.fixture
def bench(tmp_path, photo_folder):
    return Bench("small", tmp_path / "bench", data=photo_folder)


def test_an_experiment_borrows_from_runs_on_its_own_photos(
    micro, bench, photo_folder, tmp_path, monkeypatch
):
    changes = {**micro.recipe().to_dict(), "extends": ""}
    file = train_one(bench, "a", "smoke", changes)
    made = sorted((file.parent / "adversaries-0").iterdir())
    other = tmp_path / "other"
    shutil.copytree(photo_folder, other)
    first = sorted(other.rglob("*.png"))[0]
    write_png(first, 1 - read_image(first).rgb)
    monkeypatch.setattr("nrpurify.training.train", lambda data, folder, *_, **__: folder)
    for name, photos, count in (("b", photo_folder, len(made)), ("c", other, 0)):
        folder = train_one(replace(bench, data=photos), name, "smoke", changes)
        assert len(kept_shards(folder)) == count

    # train refuses a run that was begun on other photos, so its cache must stay as it is
    begun = bench.out / "training" / "begun"
    begun.mkdir()
    shutil.copy(file.parent / "recipe.json", begun)
    assert kept_shards(train_one(bench, "begun", "smoke", changes)) == []


def test_a_damaged_origin_of_another_run_is_named(first, micro, data, tmp_path):
    (first / "origin.json").write_text("[1]")
    with pytest.raises(WeightsError, match=r"origin\.json cannot be read.*not borrowed"):
        borrow_shards(micro.recipe(), tmp_path / "second", first, data)


def test_shards_that_are_there_are_left_alone(first, micro, data, tmp_path):
    kept = tmp_path / "second" / "adversaries-0" / "shard-00000.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    borrow_shards(micro.recipe(), tmp_path / "second", first, data)
    assert kept.read_bytes() == b"mine"
    assert len(list(kept.parent.iterdir())) > 1


@pytest.mark.parametrize("text", ["", "[" * 5000, '{"steps": "many"}', "[1]"])
def test_a_damaged_recipe_of_another_run_is_named(micro, tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(WeightsError, match=r"recipe\.json cannot be read"):
        borrow_shards(micro.recipe(), tmp_path / "second", tmp_path, "data")
    with pytest.raises(WeightsError, match=r"recipe\.json cannot be read"):
        _check_budget(tmp_path, micro.recipe())
