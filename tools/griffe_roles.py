"""Show Sphinx roles of docstrings, such as :class:`x.y.Z`, as code in the reference."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Replaces each role with the name that it points to."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(_code, obj.docstring.value)


def _code(match: re.Match[str]) -> str:
    short = match[1] or match[2].startswith("nrpurify.")
    return f"`{match[2].rsplit('.', 1)[-1] if short else match[2]}`"
