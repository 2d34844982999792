import sys
from dataclasses import replace

import pytest

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.purifiers import DESIGNS
from nrpurify.training import Recipe, load_recipe


@pytest.mark.parametrize("name", Recipe.shipped())
def test_shipped_recipes_parse_and_fit(name):
    recipe = load_recipe(name)
    assert recipe.purifier in DESIGNS
    assert recipe.adversaries
    assert all(
        len(kind.steps) == 2 and kind.steps[0] <= kind.steps[1] for kind in recipe.adversaries
    )
    assert recipe.resize[0] <= recipe.resize[1]
    assert not recipe.cache.shards or recipe.cache.crop >= recipe.crop
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_names_of_the_issue_are_shipped():
    assert {"paper", "fast"} <= set(Recipe.shipped())


def test_paper_recipe_is_section_4_1():
    recipe = load_recipe("paper")
    assert (recipe.purifier, recipe.batch, recipe.crop, recipe.steps) == ("nrp", 16, 128, 400_000)
    assert (recipe.losses.adversarial, recipe.losses.pixel) == (5e-3, 1e-2)
    assert recipe.losses.features[0].weight == 1
    assert recipe.losses.gan == "relativistic"
    assert recipe.losses.pixel_norm == "l2"
    assert recipe.optimization.lr == 1e-4
    assert recipe.eps == pytest.approx(16 / 255)
    assert recipe.adversaries[0].layers == ("conv3_3",)
    assert not recipe.cache.shards


def test_paper_recipe_leaves_no_aspect_and_mixes_no_batches():
    recipe = load_recipe("paper")
    assert recipe.square
    assert (recipe.losses.critic_batches, recipe.losses.gan) == ("separate", "relativistic")


def test_smoke_has_every_part():
    recipe = load_recipe("smoke")
    assert recipe.gated
    assert recipe.cache.shards
    assert recipe.losses.adversarial > 0
    assert recipe.losses.features
    assert recipe.validation.victim
    assert recipe.checkpoint_every < recipe.steps
    assert recipe.adversaries == load_recipe("fast").adversaries


def test_defaults_are_the_papers_too():
    paper, defaults = load_recipe("paper"), Recipe()
    for name in ("purifier", "steps", "batch", "crop", "resize", "eps", "adversaries"):
        assert getattr(paper, name) == getattr(defaults, name), name
    # runs of older versions, whose recipes lack it, go on with the default
    assert paper.losses == replace(defaults.losses, critic_batches="separate")


@pytest.mark.parametrize("name", ["hgd", "ape-gan", "sr", "gnp", "fgsp"])
def test_defenses_have_the_budget_of_the_purifier_they_extend(name):
    recipe, purifier = load_recipe(name), load_recipe("fast")
    assert (recipe.defense, recipe.extends, purifier.defense) == (name, "fast", "nrp")
    for setting in ("steps", "batch", "crop", "resize", "eps", "holdout", "cache", "validation"):
        assert getattr(recipe, setting) == getattr(purifier, setting), setting


def test_objectives_of_the_defenses():
    hgd, ape, sr, gnp, fgsp = map(load_recipe, ("hgd", "ape-gan", "sr", "gnp", "fgsp"))
    assert hgd.losses.guide
    assert (hgd.losses.pixel, hgd.losses.features) == (0, ())
    assert (ape.losses.adversarial, ape.losses.pixel, ape.losses.pixel_norm) == (0.02, 0.9, "rmse")
    assert ape.optimization.betas == (0.5, 0.999)
    assert (sr.purifier, gnp.purifier, fgsp.purifier) == ("edsr", "fast", "fast")
    assert [r.adversaries[0].kind for r in (sr, gnp, fgsp)] == ["clean", "noise", "fgsm"]
    assert gnp.losses == fgsp.losses == load_recipe("fast").losses


def test_a_recipe_may_extend_a_shipped_one_only(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: paper\nlosses: {pixel: 2}\n")
    recipe = load_recipe(file, steps=5)
    assert (recipe.steps, recipe.batch, recipe.losses.pixel) == (5, 16, 2)
    assert recipe.validation == load_recipe("paper").validation
    file.write_text("extends: papre\n")
    with pytest.raises(InputError, match="no recipe 'papre'"):
        load_recipe(file)


def test_what_a_recipe_extends_may_extend_another(tmp_path):
    file, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    file.write_text("extends: tiny\nsteps: 5\n")
    tiny = load_recipe("tiny")
    assert tiny.extends == "fast"
    assert replace(load_recipe(file), steps=tiny.steps, extends="fast") == tiny
    file.write_text(f"extends: {other}\n")
    other.write_text(f"extends: {file}\n")
    with pytest.raises(InputError, match=r"extend each other: .*mine.* -> .*other.*mine"):
        load_recipe(file)


def test_changes_replace_top_level_settings():
    assert load_recipe("fast", steps=7, batch=None).steps == 7
    assert load_recipe("fast", batch=None) == load_recipe("fast")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, r"stepz: Unexpected"),
        ({"cache": {"shard": 3}}, r"cache\.shard: Unexpected"),
        ({"losses": {"features": [{"layer": ["x"]}]}}, r"losses\.features\.0\.layer: Unexpected"),
        ({"steps": "many"}, r"steps: Input should be a valid integer"),
        ({"resize": [1, 2, 3]}, r"resize: Tuple should have at most 2 items"),
        ({"losses": {"gan": "wasserstein"}}, r"losses\.gan: .*'eq7' or 'vanilla'"),
        ({"adversaries": [{"goals": {"down": 1}}]}, r"adversaries\.0\.goals\.down"),
        ({"optimization": {"schedule": "flat"}}, r"optimization\.schedule"),
        ({"batch": 0}, r"batch: is 0; expected at least 1"),
        ({"eps": 16}, r"eps: is 16\.0; expected a value in \(0, 1\].*; write 16 of 255 as 16/255"),
        ({"eps": "16/0"}, r"eps: Input should be a valid number"),
        ({"strength": {"fine": 0}}, r"strength: strength fine is 0\.0; expected above 0"),
        ({"holdout": 1}, r"holdout: is 1\.0; expected a number from 0 to below 1"),
        ({"resize": [100, 50]}, r"resize: is \(100, 50\); expected least and greatest"),
        ({"adversaries": []}, r"adversaries: have no weights"),
        ({"adversaries": [{"weight": 0}]}, r"adversaries: have no weights"),
        ({"adversaries": [{}, {"steps": [9, 5]}]}, r"adversaries\.1\.steps: is \(9, 5\)"),
        ({"adversaries": [{"goals": {"away": 0}}]}, r"adversaries\.0\.goals: is "),
        (
            {"adversaries": [{"kind": "classifier"}]},
            r"adversaries\.0\.networks: is \[\] .*expected at least one classifier's name",
        ),
        ({"adversaries": [{"networks": ["a"]}]}, r"networks: is \['a'\] with kind 'features'"),
        ({"adversaries": [{"layers": []}]}, r"adversaries\.0\.layers: .*at least one"),
        ({"adversaries": [{"starts": ["zero"]}]}, r"starts: .*some of clean, uniform"),
        ({"adversaries": [{"distances": ["l7"]}]}, r"distances: .*some of mae"),
        ({"adversaries": [{"step_sizes": [0.01, -1]}]}, r"step_sizes: .*a list; each a number"),
        ({"cache": {"grow_every": -1}}, r"cache\.grow_every: is -1; expected at least 0"),
        ({"variation": {"clean": 2}}, r"variation\.clean: is 2\.0; expected a share"),
        ({"losses": {"pixel": float("nan")}}, r"losses\.pixel: is nan; expected at least 0"),
        ({"losses": {"pixel_late": -1}}, r"losses\.pixel_late: is -1"),
        (
            {"losses": {"features": [{"distance": "l7"}]}},
            r"\.0\.distance: is l7; .*one of mae, mse",
        ),
        ({"losses": {"features": [{"every": 0}]}}, r"losses\.features\.0\.every: is 0"),
        (
            {"losses": {"features": [{"first_step": 5, "until": 5}]}},
            r"features\.0\.until: is 5; expected a step after first_step, 5",
        ),
        ({"optimization": {"ema": 1}}, r"optimization\.ema: is 1\.0"),
        ({"optimization": {"lr": float("inf")}}, r"optimization\.lr: is inf; expected"),
        ({"seed": 2**64}, r"seed: is 18446744073709551616; expected a whole number from -2\^63"),
        ({"validation": {"every": 0}}, r"validation\.every: is 0; expected at least 1"),
        ({"validation": {"steps": 0}}, r"validation\.steps: is 0; expected at least 1"),
    ],
)
def test_errors_name_the_place(values, message):
    with pytest.raises(InputError, match=rf"these settings cannot be used:\n(.|\n)*{message}"):
        Recipe.from_dict(values)


def test_all_errors_are_told_at_once():
    with pytest.raises(InputError) as caught:
        Recipe.from_dict({"a": 1, "b": 2, "steps": None})
    assert [line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "steps", "a", "b",
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        Recipe.from_dict({"optimization": {"lr": -1, "ema": 2}})
    assert len(str(caught.value).splitlines()) == 3


def test_files(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "steps: 3\neps: 16/255\nlosses: {features: []}\nadversaries: [{step_sizes: [1 / 255]}]\n"
    )
    recipe = load_recipe(file)
    assert (recipe.steps, recipe.losses.features) == (3, ())
    assert (recipe.eps, recipe.adversaries[0].step_sizes) == (16 / 255, (1 / 255,))
    assert load_recipe(str(file), steps=5).steps == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"steps: [", "not valid YAML"),
        (b"steps: \xff\xfe", "cannot be read as YAML"),
        (b"- 1", "holds list; expected a mapping"),
        (b"", "holds NoneType; expected a mapping"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, data, message):
    file = tmp_path / "mine.yaml"
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        load_recipe(file)


def test_missing_recipe_names_those_that_exist():
    with pytest.raises(InputError, match=r"no recipe 'quick'; expected .* fast, .*paper"):
        load_recipe("quick")


@pytest.mark.parametrize(("module", "package"), [("yaml", "pyyaml"), ("pydantic", "pydantic")])
def test_missing_packages_are_named(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*nrpurify\[train\]"):
        load_recipe("paper")


def test_errors_name_the_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 3\nlosses:\n  pixel: much\n")
    with pytest.raises(InputError, match=r"mine\.yaml cannot be used:\n  line 3, losses\.pixel: "):
        load_recipe(file)
    file.write_text("steps: 3\ncache:\n  crop: 64\n  shards: -1\n")
    with pytest.raises(InputError, match=r"line 4, cache\.shards: is -1; expected at least 0"):
        load_recipe(file)


def test_a_recipe_and_what_it_extends_are_checked_each_in_its_own_file(tmp_path):
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("steps: 3\nbatch: 2\n")
    mine.write_text(f"extends: {base}\nsteps: 5\n")
    recipe = load_recipe(mine)
    assert (recipe.steps, recipe.batch) == (5, 2)
    base.write_text("steps: 3\nbtach: 2\n")
    with pytest.raises(InputError, match=r"base\.yaml cannot be used:\n  line 2, btach"):
        load_recipe(mine)


def test_settings_that_come_twice_are_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 3\nbatch: 2\nsteps: 5\n")
    with pytest.raises(InputError, match="line 3: steps came before in line 1"):
        load_recipe(file)
