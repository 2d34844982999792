"""The grammar of specs: ``NAME[:SETTING=VALUE,...]``; defenses are joined to a chain by ``+``.

Attacks, defenses, purifiers and victims are written alike: ``pgd:steps=40``, ``jpeg:quality=75``,
``timm:resnet50:size=224``.

A name or value that holds what separates them stands in double quotes, as in
``hgd:checkpoint="/a+b/x.safetensors"``; a double quote within them is written twice. Numbers may be
fractions, such as ``16/255``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrpurify.core.errors import InputError

_LINK = re.compile(r'(?P<name>(?:"[^"]*"|[^"])+?)(?::(?P<settings>[a-z]\w*=.*))?')
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_HEAD = "_ridge"
"""Ends the names of bodies with a head of this package."""
_SETTING = re.compile(r"[a-z]\w*=")
_SPECIAL = re.compile(r'[+,"]|:[a-z]\w*=|^\s|\s$')


@dataclass(frozen=True)
class Link:
    """A name and its settings, as written; one link of a chain.

    Attributes:
        name: A registered name, a name with a library's prefix, or a file.
        settings: By name, not yet converted.
    """

    name: str
    settings: dict[str, str] = field(default_factory=dict)


def parse_one(spec: str, kind: str) -> Link:
    """Parse a spec of one part, such as ``pgd:steps=40``.

    Raises:
        InputError: As :func:`parse`, or a ``+`` that joins several.
    """
    links = parse(spec, kind)
    if len(links) > 1:
        raise InputError(f"the {kind} {spec!r} joins {len(links)} names by +; expected one of them")
    return links[0]


def parse(spec: str, kind: str = "defense") -> tuple[Link, ...]:
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
            f"the {kind} {spec!r} has a double quote that is not closed; close it, or write a "
            'path that holds one as "a""b"'
        )
    return tuple(_link(text.strip(), spec, kind) for text in _split(spec, "+"))


def split_specs(text: str) -> list[str]:
    """Specs with commas between them, the short form of several.

    >>> split_specs("squeezenet1_1,timm:resnet50:size=256,pretrained=false")
    ['squeezenet1_1', 'timm:resnet50:size=256,pretrained=false']

    A part that reads ``SETTING=VALUE`` belongs to the spec before it.
    """
    specs: list[str] = []
    for part in _split(text, ","):
        if specs and _SETTING.match(part.strip()) and ":" in specs[-1]:
            specs[-1] += f",{part.strip()}"
        elif part.strip():
            specs.append(part.strip())
    return specs


def is_factory_spec(spec: str) -> bool:
    """Whether ``spec`` begins as ``python:package.module:factory`` or ``file.py:factory`` do."""
    return spec.startswith("python:") or bool(re.match(r".+\.py(:|$)", spec))


def same_network(first: str, second: str) -> bool:
    """Whether two specs mean one network, whatever its library (``timm:``) or head (``_ridge``)."""
    return _network(first) == _network(second)


def _network(spec: str) -> tuple[str, str]:
    """A network's name, and the file of its weights; the text itself if it is not a spec."""
    try:
        link = parse_one(spec, "victim")
    except InputError:
        return spec, ""
    name = link.name
    if not is_factory_spec(name):
        name = name.rsplit(":", 1)[-1].removesuffix(_HEAD)
    return name, link.settings.get("checkpoint", "")


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


def _link(text: str, spec: str, kind: str) -> Link:
    found = _LINK.fullmatch(text)
    if found is None:
        raise InputError(
            f"the {kind} {spec!r} has an empty part; expected a name, as in NAME:SETTING=VALUE"
        )
    name, rest = _plain(found["name"]), found["settings"]
    settings: dict[str, str] = {}
    for part in _split(rest, ",") if rest else ():
        key, equals, value = (_plain(piece.strip()) for piece in part.partition("="))
        if not (key and equals and value):
            raise InputError(
                f"{name}: {part!r} is no setting; expected NAME=VALUE; another {kind} is a spec of "
                "its own"
            )
        if key in settings:
            raise InputError(f"{name}: {key} is given twice")
        settings[key] = value
    return Link(name, settings)


_TRUTHS = {"true": True, "false": False}


def convert(name: str, key: str, text: str, default: Any, annotation: str = "") -> Any:
    """A setting's text as a value of its kind; numbers may be fractions as 16/255.

    Args:
        name: Of the thing, for messages.
        key: Of the setting.
        text: What was written.
        default: The setting's default, whose type is the kind unless it is None.
        annotation: The setting's type as written in the code, such as ``int | None`` or
            ``tuple[str, ...]``; used where the default has no kind. A tuple's items are separated
            by commas, the whole in double quotes.

    Raises:
        InputError: The text is not such a value.
    """
    if default is None and text in ("none", "None"):
        return None
    kind = _kind(default, annotation)
    if kind is str:
        return text
    if kind is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is bool:
        if text in _TRUTHS:
            return _TRUTHS[text]
        raise InputError(f"{name}: {key} is {text!r}; expected true or false")
    try:
        return int(text) if kind is int else _finite(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        expected = "an integer" if kind is int else "a number such as 0.05 or 16/255"
        raise InputError(f"{name}: {key} is {text!r}; expected {expected}") from None


def _kind(default: Any, annotation: str) -> type:
    for kind in (str, bool, int, float, tuple):  # bool before int, of which it is a subclass
        if isinstance(default, kind):
            return kind
    first = annotation.partition("|")[0].partition("[")[0].strip()
    return {"bool": bool, "int": int, "float": float, "Eps": float, "tuple": tuple}.get(first, str)


def _finite(text: str) -> float:
    value = parse_fraction(text)
    if not abs(value) < float("inf"):
        raise ValueError(text)
    return value


def parse_fraction(text: str) -> float:
    """A number, or one number over another.

    Raises:
        ValueError: It is neither.
        ZeroDivisionError: The lower number is zero.
    """
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(text)


def hint_of_255(value: float) -> str:
    """What to add to an error about a distance above 1, which counts 255ths; else empty."""
    return f"; write {value:g} of 255 as {value:g}/255" if value > 1 else ""


def parse_eps(text: str, given: str, norm: str = "linf") -> float:
    """A distance between [0, 1] images: a number or fraction above 0, for L∞ up to 1.

    Args:
        text: What was written.
        given: How an error begins, such as ``--eps is '16'``.
        norm: ``linf``, or ``l2``, whose lengths may be above 1.

    Raises:
        InputError: Neither of them, or outside (0, 1], for ℓ2 not above 0 or not finite; the
            error for an L∞ of 16 suggests 16/255.
    """
    try:
        value = parse_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(
            f"{given}; expected a fraction such as 16/255 or a number such as 0.06"
        ) from None
    if norm == "l2":
        if not 0 < value < float("inf"):
            raise InputError(f"{given}; expected an ℓ2 length above 0, such as 3.0")
        return value
    if not 0 < value <= 1:
        hint = f"; write {text}/255" if 1 < value <= 255 and "/" not in text else ""
        raise InputError(f"{given}; expected a value above 0 and up to 1{hint}")
    return value
