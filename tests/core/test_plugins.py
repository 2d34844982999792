"""Plug-in files and factories: loaded once, recorded by hash, refused in words."""

import hashlib

import pytest

from nrpurify.core.errors import InputError, PluginError
from nrpurify.core.plugins import (
    check_trusted,
    load_factory,
    load_plugin,
    load_plugins,
)
from nrpurify.core.spec import is_factory_spec


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("COUNT = []\nCOUNT.append(1)\ndef build():\n    return COUNT\nnumber = 3\n")
    return path


def test_a_file_is_loaded_once_and_recorded(file):
    plugin = load_plugin(str(file))
    assert plugin.name == "mine.py"
    assert plugin.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert load_plugins([str(file), str(file)]) == [plugin]
    assert load_factory(f"{file}:build").function() == [1]


def test_a_module_has_its_version():
    plugin = load_plugin("torch.nn.functional")
    assert plugin.version
    assert plugin.to_dict()["name"] == "torch.nn.functional"


def test_a_factory_of_a_module():
    assert load_factory("python:os.path:basename").function("a/b") == "b"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("python:os.path", "names no factory"),
        ("python:nowhere.at.all:f", "no module 'nowhere.at.all'"),
        ("nothere.py:f", "no file 'nothere.py'"),
        ("python:os.path:nothing", "no function 'nothing'"),
    ],
)
def test_factories_that_cannot_be_found(spec, message):
    assert is_factory_spec(spec)
    with pytest.raises(InputError, match=message):
        load_factory(spec)


def test_a_value_is_no_factory(file):
    with pytest.raises(InputError, match="no function 'number'"):
        load_factory(f"{file}:number")


def test_a_failing_plug_in_is_named_and_can_be_mended(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("1 / 0\n")
    with pytest.raises(PluginError, match=r"bad\.py failed on import: ZeroDivisionError"):
        load_plugin(str(path))
    path.write_text("good = True\n")
    assert load_plugin(str(path)).name == "bad.py"


PLAN = {"victims": ["squeezenet1_1", "timm:x:size=8"], "defenses": ["jpeg:quality=75+fast"]}


def test_a_plan_without_code_needs_no_trust():
    check_trusted({**PLAN, "plugins": []}, [], trust_all=False)


@pytest.mark.parametrize(
    ("more", "module"),
    [
        ({"plugins": ["b.py"]}, "b.py"),
        ({"plugins": "package.module"}, "package.module"),
        ({"victims": ["b.py:build:size=3"]}, "b.py"),
        ({"victims": ['"b.py:build"']}, '"?b.py"?'),
        ({"victims": ["a, b.py:build"]}, "b.py"),
        (
            {"attacks": [{"name": "pgd", "surrogate": ["python:package.module:f"]}]},
            "package.module",
        ),
        ({"defenses": ["jpeg+b.py:build"]}, "b.py"),
    ],
)
def test_code_of_a_plan_needs_the_command_lines_word(more, module):
    plan = {**PLAN, **more}
    with pytest.raises(InputError, match=rf"code that would run: .* --plugin .*{module}"):
        check_trusted(plan, ["other.py"], trust_all=False)
    check_trusted(plan, [], trust_all=True)


def test_the_command_line_may_name_the_same_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_trusted({"victims": ["b.py:build"]}, [str(tmp_path / "b.py")], trust_all=False)
    check_trusted({"victims": ["python:a.b:f:n=1"]}, ["a.b"], trust_all=False)
