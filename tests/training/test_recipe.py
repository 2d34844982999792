import sys

import pytest

from nrpurify.errors import InputError, MissingExtraError
from nrpurify.purifiers import DESIGNS
from nrpurify.training import Recipe, load_recipe, recipe_from_dict, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_parse_and_fit(name):
    recipe = load_recipe(name)
    assert recipe.purifier in DESIGNS
    assert recipe.adversaries
    assert all(
        len(kind.steps) == 2 and kind.steps[0] <= kind.steps[1] for kind in recipe.adversaries
    )
    assert recipe.resize[0] <= recipe.resize[1]
    assert not recipe.cache.shards or recipe.cache.crop >= recipe.crop
    assert recipe_from_dict(recipe.to_dict()) == recipe


def test_names_of_the_issue_are_shipped():
    assert {"paper", "fast"} <= set(shipped_recipes())


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


def test_defaults_are_the_papers_too():
    paper, defaults = load_recipe("paper"), Recipe()
    for name in ("purifier", "steps", "batch", "crop", "resize", "eps", "losses", "adversaries"):
        assert getattr(paper, name) == getattr(defaults, name), name


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
        ({"losses": {"gan": "wasserstein"}}, r"losses\.gan: .*'relativistic' or 'vanilla'"),
        ({"adversaries": [{"goals": {"down": 1}}]}, r"adversaries\.0\.goals\.down"),
        ({"optimization": {"schedule": "flat"}}, r"optimization\.schedule"),
    ],
)
def test_errors_name_the_place(values, message):
    with pytest.raises(InputError, match=rf"the recipe cannot be used:\n(.|\n)*{message}"):
        recipe_from_dict(values)


def test_all_errors_are_told_at_once():
    with pytest.raises(InputError) as caught:
        recipe_from_dict({"a": 1, "b": 2, "steps": None})
    assert [line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "steps", "a", "b",
    ]  # fmt: skip


def test_files(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 3\nlosses: {features: []}\n")
    recipe = load_recipe(file)
    assert (recipe.steps, recipe.losses.features) == (3, ())
    assert load_recipe(str(file), steps=5).steps == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"steps: [", "no readable YAML"),
        (b"steps: \xff\xfe", "no readable YAML"),
        (b"- 1", "holds list; expected a mapping"),
        (b"", "holds NoneType; expected a mapping"),
        (b"!!python/object/apply:os.getcwd []", "no readable YAML"),
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
