"""The grammar of defense specs: ``NAME[:SETTING=VALUE,...]``, joined to a chain by ``+``.

A name or value that holds what separates them stands in double quotes, as in
``hgd:checkpoint="/a+b/x.safetensors"``; a double quote within them is written twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrpurify.errors import InputError
from nrpurify.fraction import read_fraction

_LINK = re.compile(r'(?P<name>(?:"[^"]*"|[^"])+?)(?::(?P<settings>[a-z]\w*=.*))?')
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_SPECIAL = re.compile(r'[+,"]|:[a-z]\w*=|^\s|\s$')


@dataclass(frozen=True)
class Link:
    """One defense of a chain, as written.

    Attributes:
        name: A defense's or purifier's name, or a checkpoint file.
        settings: By name, not yet converted.
    """

    name: str
    settings: dict[str, str] = field(default_factory=dict)


def parse(spec: str) -> tuple[Link, ...]:
    """Take a spec apart, such as ``jpeg:quality=75+fast:mode=dynamic,seed=1``.

    The path of a file may hold what separates links when it is all of the spec, or when it is
    :func:`quoted`.

    Raises:
        InputError: An empty link, a setting without a value or given twice, or an open quote.
    """
    if is_file(spec):
        return (Link(spec),)
    if spec.count('"') % 2:
        raise InputError(
            f"the defense {spec!r} has a double quote that is not closed; close it, or write a "
            'path that holds one as "a""b"'
        )
    return tuple(_link(text.strip(), spec) for text in _split(spec, "+"))


def quoted(text: str) -> str:
    """A name or value as it stands in a spec: in double quotes if it needs them, else as it is."""
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if _SPECIAL.search(text) else text


def _split(text: str, mark: str) -> list[str]:
    """The parts between marks that stand outside of quotes."""
    parts, inside = [""], False
    for letter in text:
        inside ^= letter == '"'
        if letter == mark and not inside:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _plain(text: str) -> str:
    """Text without its quotes."""
    return _QUOTED.sub(lambda found: found[1].replace('""', '"'), text)


def is_file(text: str) -> bool:
    """Whether there is such a file; text that can be no path names none."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _link(text: str, spec: str) -> Link:
    found = _LINK.fullmatch(text)
    if found is None:
        raise InputError(
            f"the defense {spec!r} has an empty part; expected a name, as in jpeg+fast"
        )
    name, rest = _plain(found["name"]), found["settings"]
    settings: dict[str, str] = {}
    for part in _split(rest, ",") if rest else ():
        key, equals, value = (_plain(piece.strip()) for piece in part.partition("="))
        if not (key and equals and value):
            raise InputError(f"{name}: {part!r} is no setting; expected NAME=VALUE")
        if key in settings:
            raise InputError(f"{name}: {key} is given twice")
        settings[key] = value
    return Link(name, settings)


_TRUTHS = {"true": True, "false": False}


def convert(name: str, key: str, text: str, default: Any) -> Any:
    """A setting's text as a value of its default's kind; numbers may be fractions as 16/255.

    Raises:
        InputError: It is none.
    """
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text in _TRUTHS:
            return _TRUTHS[text]
        raise InputError(f"{name}: {key} is {text!r}; expected true or false")
    try:
        return int(text) if isinstance(default, int) else _fraction(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        kind = "an integer" if isinstance(default, int) else "a number such as 0.05 or 16/255"
        raise InputError(f"{name}: {key} is {text!r}; expected {kind}") from None


def _fraction(text: str) -> float:
    value = read_fraction(text)
    if not abs(value) < float("inf"):
        raise ValueError(text)
    return value
