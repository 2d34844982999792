"""The pages that are made from the code are as the code is."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
SPEC = importlib.util.spec_from_file_location("pages", DOCS.parent / "tools" / "pages.py")
pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pages)


@pytest.mark.parametrize("name", pages.PAGES)
def test_page_is_as_generated(name):
    assert (DOCS / name).read_text() == pages.PAGES[name](), "run python tools/pages.py"


def test_reference_has_all_public_names():
    import nrpurify

    shown = [
        line.removeprefix("::: nrpurify.")
        for line in (DOCS / "reference.md").read_text().splitlines()
        if line.startswith(":::")
    ]
    assert sorted(shown) == sorted(nrpurify.__all__)
