"""Names are known without an import; plug-ins collide, fail and are found as they should."""

import sys
from dataclasses import dataclass

import pytest

from nrpurify.core.errors import InputError, PluginError
from nrpurify.core.registry import Registry


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Thing's registry over a package of two files, one of which must not be imported."""
    package = tmp_path / "things"
    package.mkdir()
    (package / "__init__.py").write_text("from nrpurify.core.registry import Registry\n")
    (package / "one.py").write_text(
        "from things import REGISTRY\nfrom dataclasses import dataclass\n"
        "register_thing = REGISTRY.register\n"
        '@register_thing("one", source="A")\n'
        "@dataclass\nclass One:\n    steps: int = 3\n    size: float | None = None\n"
        "    layers: tuple[str, ...] = ()\n    quick: bool = False\n"
    )
    (package / "broken.py").write_text('@register_thing("broken")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    import things

    things.REGISTRY = Registry("thing", package="things", group="nrpurify.things")
    yield things.REGISTRY
    for name in [name for name in sys.modules if name.split(".")[0] == "things"]:
        del sys.modules[name]


def test_names_are_known_without_an_import(registry):
    assert set(registry.names()) == {"one", "broken"}
    assert "one" in registry
    assert "things.one" not in sys.modules


def test_a_spec_makes_a_thing_with_converted_settings(registry):
    thing = registry.create('one:steps=7,size=2/255,layers="a,b",quick=true')
    assert (thing.steps, thing.layers, thing.quick) == (7, ("a", "b"), True)
    assert thing.size == pytest.approx(2 / 255)
    assert registry.create("one:size=none").size is None
    assert registry.create("one:steps=1", steps=9, quick=True).steps == 1
    assert registry.get("one").info == {"source": "A"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("onne", "no thing 'onne'; did you mean one"),
        ("one:step=3", "no setting 'step'; did you mean steps"),
        ("one:steps=x", "steps is 'x'; expected an integer"),
        ("one:quick=1", "expected true or false"),
        ("one:size=inf", "expected a number"),
        ("one+one", "joins 2 names"),
    ],
)
def test_bad_specs_are_explained(registry, spec, message):
    with pytest.raises(InputError, match=message):
        registry.create(spec)


def test_a_name_may_not_be_taken_twice(registry):
    with pytest.raises(InputError, match=r"has the name of one of things\.one; rename it"):
        registry.register("one")(lambda: None)
    first = registry.register("mine")
    first(lambda: 1)
    assert registry.create("mine") == 1


def test_what_a_plug_in_raises_names_it(registry):
    def broken():
        raise RuntimeError("no luck")

    def refusing():
        raise InputError("steps is 0")

    registry.register("bad")(broken)
    registry.register("strict")(refusing)
    with pytest.raises(PluginError, match=r"bad of the plug-in .*test_registry failed: Runtime"):
        registry.create("bad")
    with pytest.raises(InputError, match="steps is 0"):
        registry.create("strict")


class Point:
    def __init__(self, name, value, load):
        self.name, self.value, self.load = name, value, load


def with_points(monkeypatch, *points):
    monkeypatch.setattr("nrpurify.core.registry.metadata.entry_points", lambda group: points)


def test_installed_packages_add_entries(registry, monkeypatch):
    def load():
        registry.register("far")(lambda: "far")

    with_points(monkeypatch, Point("far", f"{__name__}:thing", load))
    assert "far" in registry.names()
    with pytest.raises(InputError, match="is not loaded; give --plugin"):
        registry.get("far", load_plugins=False)
    assert registry.create("far") == "far"
    assert registry.get("far", load_plugins=False).name == "far"


def test_the_users_own_code_may_not_take_an_installed_name(registry, monkeypatch):
    with_points(monkeypatch, Point("far", "elsewhere", None))
    with pytest.raises(InputError, match="has the name of one of elsewhere"):
        registry.register("far")(lambda: None)


def test_entry_points_collide_fail_or_register_nothing_with_a_clear_error(registry, monkeypatch):
    with_points(monkeypatch, Point("one", "elsewhere", None))
    with pytest.raises(InputError, match="'one' of the installed elsewhere"):
        registry.names()

    def fail():
        raise ImportError("torch of another planet")

    with_points(monkeypatch, Point("far", "elsewhere", fail), Point("idle", "there", lambda: None))
    registry.__dict__.pop("_installed", None)
    with pytest.raises(PluginError, match="far of the plug-in elsewhere failed: ImportError"):
        registry.get("far")
    with pytest.raises(PluginError, match="registers no such name"):
        registry.get("idle")


@dataclass
class Kept:
    numbers: int


def test_a_setting_without_a_default_is_listed(registry):
    registry.register("kept")(Kept)
    assert list(registry.get("kept").settings) == ["numbers"]
    with pytest.raises(PluginError, match="numbers"):
        registry.create("kept")
