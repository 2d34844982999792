"""One registry for attacks, defenses, purifiers, victims, tasks and metrics.

A built-in entry is one decorated class or function in a file of its package. The package's files
are scanned as text for the decorator, so that all names are known while nothing is imported; a
file is imported when its entry is first used. Installed packages add entries by entry points, and
a user's own code by the decorator.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata, resources
from typing import Any, Generic, TypeVar

from nrpurify.core.errors import InputError, NrpurifyError, PluginError
from nrpurify.core.spec import Link, convert, parse_one

_USED: ContextVar[set[str] | None] = ContextVar("used", default=None)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
OWN = "nrpurify"
MISSING = dataclasses.MISSING
_MANY = 40
"""Names in one message."""


@dataclass(frozen=True)
class Setting:
    """One setting of an entry.

    Attributes:
        name: Of the dataclass field or keyword parameter.
        default: Its default, or :data:`MISSING` where a value has to be given.
        annotation: Its type as written, empty where there is none.
    """

    name: str
    default: Any
    annotation: str = ""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered class or function.

    Attributes:
        name: What specs and plans call it.
        factory: Makes the thing from its settings.
        info: What the decorator was given besides the name, such as ``source``.
        origin: The module that registered it.
    """

    name: str
    factory: Callable[..., T]
    info: Mapping[str, Any] = field(default_factory=dict)
    origin: str = OWN

    @property
    def is_own(self) -> bool:
        """Whether it belongs to this package and to no plug-in."""
        return _is_own(self.origin)

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """Its settings by name: the fields of a dataclass, else the factory's parameters."""
        if dataclasses.is_dataclass(self.factory):
            return {
                f.name: Setting(f.name, _default(f), str(f.type))
                for f in dataclasses.fields(self.factory)
                if f.init
            }
        return {
            p.name: Setting(
                p.name,
                MISSING if p.default is p.empty else p.default,
                "" if p.annotation is p.empty else str(p.annotation),
            )
            for p in inspect.signature(self.factory).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }

    def converted(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Settings written as text, converted to the kinds of their defaults.

        Raises:
            InputError: An unknown setting, or a text that is not such a value.
        """
        return {
            name: convert(self.name, name, text, found.default, found.annotation)
            for name, text in texts.items()
            for found in [self.setting(name)]
        }

    def setting(self, name: str) -> Setting:
        """One setting.

        Raises:
            InputError: No such setting; near matches are named.
        """
        if name not in self.settings:
            raise InputError(
                f"{self.name} has no setting {name!r}; {near_matches(name, self.settings)}"
            )
        return self.settings[name]

    def make(self, **settings: Any) -> T:
        """Make the thing.

        Raises:
            InputError: An unknown setting (near matches are named), or a value that is refused.
            PluginError: A plug-in failed; the message names it.
        """
        for name in settings:
            self.setting(name)
        if self.is_own:
            return self.factory(**settings)
        with naming_plugin(self.name, self.origin):
            return self.factory(**settings)


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == OWN


def _default(found: dataclasses.Field[Any]) -> Any:
    if found.default_factory is not MISSING:
        return found.default_factory()
    return found.default


class naming_plugin:  # noqa: N801 - a context manager, named as one
    """While the block runs, unexpected errors become a PluginError that names the plug-in.

    An InputError stays one, and names it too.

    Args:
        name: Of the entry.
        origin: The module that registered it.
    """

    def __init__(self, name: str, origin: str) -> None:
        self.name, self.origin = name, origin

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise an error that names the plug-in in its place."""
        if type(error) is InputError:
            raise InputError(f"{self.name} of the plug-in {self.origin}: {error}") from error
        if isinstance(error, Exception) and not isinstance(error, NrpurifyError):
            raise PluginError(
                f"{self.name} of the plug-in {self.origin} failed: {type(error).__name__}: {error}"
            ) from error


def near_matches(name: str, known: Iterable[str]) -> str:
    """``did you mean a, b?`` for an unknown name; the known names where none is near."""
    names = list(known)
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and set(parts) <= set(names):
        return f"these are {len(parts)} names; give each by itself"
    lowered = {one.lower(): one for one in names}
    if near := difflib.get_close_matches(name[:80].lower(), lowered, cutoff=0.5):
        return f"did you mean {', '.join(lowered[one] for one in near)}?"
    if not names:
        return "there is none"
    return f"expected one of {', '.join(names[:_MANY])}{', ...' if len(names) > _MANY else ''}"


@contextmanager
def origins_used() -> Iterator[set[str]]:
    """Collects the modules whose entries the block looks up, in any registry."""
    found: set[str] = set()
    token = _USED.set(found)
    try:
        yield found
    finally:
        _USED.reset(token)


class Registry(Generic[T]):
    """Names and what they stand for, of one kind.

    Args:
        kind: For messages, such as ``attack``; the decorator is ``register_KIND``.
        package: Its modules hold the built-in entries.
        group: Of the entry points by which installed packages add entries.
    """

    def __init__(self, kind: str, *, package: str, group: str) -> None:
        self.kind, self.package, self.group = kind, package, group
        self._entries: dict[str, Entry[T]] = {}
        self._pattern = re.compile(rf'^@register_{kind}\(\s*"([^"]+)"', re.MULTILINE)

    def register(self, name: str, **info: Any) -> Callable[[F], F]:
        """Decorate a class or function that makes the thing from its settings.

        Args:
            name: What specs and plans call it.
            info: Facts about it, such as ``source``.

        Raises:
            InputError: The name is taken by another module.

        Examples:
            >>> @nrpurify.register_defense("flip", source="control")
            ... class Flip(torch.nn.Module):
            ...     def forward(self, images):
            ...         return images.flip(3)
            >>> nrpurify.defenses.make("flip")(torch.ones(1, 3, 2, 2)).shape
            torch.Size([1, 3, 2, 2])
        """

        def decorate(factory: F) -> F:
            origin = factory.__module__
            owner = self._owner(name, origin)
            if owner is not None and owner != origin:
                raise InputError(
                    f"{self.kind} {name!r} of {origin} has the name of one of {owner}; rename it"
                )
            self._entries[name] = Entry(name, factory, info, origin)
            return factory

        return decorate

    def _owner(self, name: str, origin: str) -> str | None:
        """The module that has the name; installed packages are looked at for plug-ins alone."""
        if name in self._entries:
            return self._entries[name].origin
        if name in self._own or _is_own(origin):
            return self._own.get(name)
        point = self._installed.get(name)
        owner = "" if point is None else point.value.partition(":")[0]
        same_package = owner.partition(".")[0] == origin.partition(".")[0]
        return None if not owner or same_package else owner

    @cached_property
    def _own(self) -> dict[str, str]:
        """The module of each built-in entry, from the files' text."""
        found: dict[str, str] = {}
        for file in sorted(resources.files(self.package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                module = f"{self.package}.{file.name.removesuffix('.py')}"
                names = self._pattern.findall(file.read_text(encoding="utf-8"))
                found.update(dict.fromkeys(names, module))
        return found

    @cached_property
    def _installed(self) -> dict[str, metadata.EntryPoint]:
        """Entry points by name, which have to be other names than the built-in ones."""
        points: dict[str, metadata.EntryPoint] = {}
        for point in metadata.entry_points(group=self.group):
            owner = self._own.get(point.name) or (
                points[point.name].value if point.name in points else None
            )
            if owner is not None and owner != point.value:
                raise InputError(
                    f"{self.kind} {point.name!r} of the installed {point.value} has the name of "
                    f"one of {owner}; uninstall one of them"
                )
            points[point.name] = point
        return points

    def names(self) -> list[str]:
        """All names: built-in, registered, installed; nothing is imported for it."""
        return list(dict.fromkeys([*self._own, *self._entries, *self._installed]))

    def forget(self, name: str) -> None:
        """Remove an entry that a plug-in or the user's own code has added, if there is one."""
        if name not in self._own:
            self._entries.pop(name, None)
            self.__dict__.pop("_installed", None)

    def foreign_names(self) -> list[str]:
        """The names that plug-ins and the user's own code have added."""
        return [name for name in self.names() if name not in self._own]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._own or name in self._installed

    def get(self, name: str, *, load_plugins: bool = True) -> Entry[T]:
        """Look an entry up, and import its file if that has not been done.

        Args:
            name: Of the entry.
            load_plugins: Import an installed plug-in that has the name; False for names that a
                checkpoint or report gives, which run no code that nobody named.

        Raises:
            InputError: No such name; near matches are named.
            PluginError: The plug-in that has it cannot be imported.
        """
        if name not in self._entries:
            if not load_plugins and name not in self._own and name in self._installed:
                raise InputError(
                    f"{self.kind} {name!r} belongs to the plug-in {self._installed[name].value}, "
                    f"which is not loaded; give --plugin {self._installed[name].value}"
                )
            self._import(name)
        entry, used = self._entries[name], _USED.get()
        if used is not None:
            used.add(entry.origin)
        return entry

    def _import(self, name: str) -> None:
        if name in self._own:
            importlib.import_module(self._own[name])
        elif name in self._installed:
            point = self._installed[name]
            with naming_plugin(name, point.value):
                point.load()
            from nrpurify.core.plugins import record_installed  # it imports torch

            record_installed(point.value.partition(":")[0])
        else:
            raise InputError(f"no {self.kind} {name!r}; {near_matches(name, self.names())}")
        if name not in self._entries:
            raise PluginError(
                f"the module of {self.kind} {name!r} was imported and registers no such name; "
                f"expected @register_{self.kind}({name!r}) in it"
            )

    def create(self, spec: str | Link, **common: Any) -> T:
        """Make a thing from a spec such as ``pgd:steps=40,step_size=2/255``.

        Args:
            spec: ``NAME`` or ``NAME:SETTING=VALUE,...``.
            common: Settings that are given as values; those in ``spec`` override them.

        Raises:
            InputError: An unknown name or setting, or a bad value.
            PluginError: A plug-in failed.
        """
        link = parse_one(spec, self.kind) if isinstance(spec, str) else spec
        entry = self.get(link.name)
        return entry.make(**{**common, **entry.converted(link.settings)})
