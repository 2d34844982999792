import subprocess
import sys

import pytest

import nrpurify


@pytest.mark.parametrize("name", nrpurify.__all__)
def test_every_public_name_exists_and_is_documented(name):
    assert getattr(nrpurify, name).__doc__


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'purify_all'"):
        nrpurify.purify_all  # noqa: B018


def test_dir_lists_the_public_names():
    assert set(nrpurify.__all__) <= set(dir(nrpurify))


def test_the_core_needs_no_extra():
    code = (
        "import sys, nrpurify; [getattr(nrpurify, name) for name in nrpurify.__all__];"
        "extras = {'torchvision', 'timm', 'h5py', 'jinja2', 'typer', 'rich', 'yaml', 'pydantic',"
        " 'foolbox', 'tensorboard'};"
        "print(sorted(extras & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_sub_packages_need_no_import_of_their_own():
    code = "import nrpurify; nrpurify.attacks.create('pgd'); nrpurify.defenses.make('jpeg')"
    subprocess.run([sys.executable, "-c", code], check=True)
