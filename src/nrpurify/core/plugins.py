"""Code that a user names: plug-in modules, plug-in files and factories of models.

Nothing here is called for a name in a report, a card or a checkpoint: code is loaded only where a
command line or the user's own Python names it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from nrpurify.core.errors import InputError, PluginError
from nrpurify.core.hashing import file_hash
from nrpurify.core.spec import is_factory_spec, parse, parse_one, split_specs
from nrpurify.core.versions import PLUGINS, Plugin

_FACTORY = re.compile(r"(?:python:(?P<module>[\w.]+)|(?P<file>.+\.py)):(?P<name>[A-Za-z_]\w*)")
_PREFIX = "nrpurify_plugin_"


def load_plugin(spec: str) -> Plugin:
    """Import a plug-in, whose decorators register its entries.

    Args:
        spec: A module that can be imported, ``package.module``, or a file, ``path/to/file.py``.

    Raises:
        InputError: No such module or file.
        PluginError: The module failed; the message names it and the error.
    """
    before = set(sys.modules)
    module = _load(spec)
    new = {name for name in set(sys.modules) - before if "." not in name} | {module.__name__}
    return _record(Path(spec).name if _is_file_spec(spec) else spec, module, new)


def _record(name: str, module: ModuleType, new: Collection[str]) -> Plugin:
    own = module.__name__
    known = PLUGINS[own].modules if own in PLUGINS else frozenset()
    PLUGINS[own] = Plugin(name, _version(own), file_sha256(module), known | frozenset(new))
    return PLUGINS[own]


def record_installed(module: str) -> None:
    """Note a plug-in that was imported because an entry of an installed package was used."""
    if module in sys.modules and module not in PLUGINS:
        _record(module, sys.modules[module], [module])


def load_plugins(specs: Sequence[str]) -> list[Plugin]:
    """Each plug-in once, in the order given; see :func:`load_plugin`."""
    return [load_plugin(spec) for spec in dict.fromkeys(specs)]


def check_trusted(plan: object, trusted: Sequence[str], *, trust_all: bool) -> None:
    """Refuse code that only a plan names: a factory of a victim, a plug-in.

    Args:
        plan: Plain values: mappings, lists and texts. Each text counts that names a factory, and
            everything under ``plugins``.
        trusted: The plug-ins that the command line names.
        trust_all: Whether the command line has ``--trust-plan``.

    Raises:
        InputError: Some code is not in ``trusted``.
    """
    allowed = {_code(spec) for spec in trusted}
    left = [spec for spec in dict.fromkeys(_named(plan)) if _code(spec) not in allowed]
    if left and not trust_all:
        module = _module(left[0])
        raise InputError(
            f"the plan names code that would run: {', '.join(left)}; if you trust it, give "
            f"--plugin {module} or --trust-plan"
        )


def _named(plan: object, *, plugins: bool = False) -> Iterator[str]:
    """The texts in a plan that name code."""
    if isinstance(plan, Mapping):
        for key, value in plan.items():
            yield from _named(value, plugins=plugins or key == "plugins")
    elif isinstance(plan, list | tuple):
        for value in plan:
            yield from _named(value, plugins=plugins)
    elif isinstance(plan, str) and (plugins or _is_factory(plan)):
        yield plan


def _is_factory(text: str) -> bool:
    """Whether a text, read as a spec or as specs with commas between, names a factory."""
    names = {text, text.strip(), text.replace('"', "").strip()}
    for part in split_specs(text):
        with suppress(InputError):
            names |= {link.name for link in parse(part, "plan")}
    return any(is_factory_spec(name) for name in names)


def _module(spec: str) -> str:
    """The module or file of a factory's spec; a plug-in's own name."""
    with suppress(InputError):
        spec = parse_one(spec, "plan").name
    found = _FACTORY.fullmatch(spec)
    return (found["module"] or found["file"]) if found else spec


def _code(spec: str) -> str:
    """The same, with a file's whole path."""
    module = _module(spec)
    return str(Path(module).resolve()) if _is_file_spec(module) else module


@dataclass(frozen=True)
class Factory:
    """A function that a user named, with the hash of its file for the record.

    Attributes:
        function: The function.
        sha256: Of the file in which it stands; empty where there is none.
        origin: The module or file, as the user wrote it.
    """

    function: Callable[..., Any]
    sha256: str
    origin: str = ""


def load_factory(spec: str) -> Factory:
    """The function that ``python:package.module:name`` or ``path/to/file.py:name`` means.

    Raises:
        InputError: No such form, module, file or function.
        PluginError: The module failed while it was imported.
    """
    found = _FACTORY.fullmatch(spec)
    if found is None:
        raise InputError(
            f"{spec!r} names no factory; expected python:package.module:function or "
            "path/to/file.py:function"
        )
    origin = found["module"] or found["file"]
    module = _load(origin)
    function = getattr(module, found["name"], None)
    if not callable(function):
        raise InputError(
            f"{origin} has no function {found['name']!r}; expected one that returns a model, or a "
            "model and its Preprocessing"
        )
    return Factory(function, file_sha256(module), origin)


def _is_file_spec(spec: str) -> bool:
    return spec.endswith(".py")


def _load(spec: str) -> ModuleType:
    return _load_file(Path(spec)) if _is_file_spec(spec) else _load_module(spec)


def _load_module(name: str) -> ModuleType:
    try:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"no module {name!r} to import; install it, or give a file such as ./{name}.py"
        ) from error
    with _naming(name):
        return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    """Import a file once for each path; the same file under two paths is one module."""
    if not path.is_file():
        raise InputError(f"no file {str(path)!r}; expected a Python file")
    whole = path.resolve()
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        raise InputError(f"{str(path)!r} cannot be imported; expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    try:
        with _naming(str(path)):
            loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn what a plug-in raises on import into a PluginError that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        told = f"{name} failed on import: {type(error).__name__}: {error}"
        raise PluginError(told + _neighbor_advice(name, error)) from error


def _neighbor_advice(name: str, error: Exception) -> str:
    """What to do where a file imports its neighbor, which Python does not look for there."""
    missing = (getattr(error, "name", None) or "").partition(".")[0]
    folder = Path(name).resolve().parent
    beside = any((folder / part).exists() for part in (f"{missing}.py", missing))
    if not (isinstance(error, ModuleNotFoundError) and _is_file_spec(name) and missing and beside):
        return ""
    return f"; it lies beside the file, so set PYTHONPATH={folder}"


def _version(module: str) -> str:
    package = module.partition(".")[0]
    for distribution in metadata.packages_distributions().get(package, ()):
        return metadata.version(distribution)
    return ""


def file_sha256(module: ModuleType | None) -> str:
    """sha256 of a module's file; empty for one without a file."""
    file = getattr(module, "__file__", None)
    return file_hash(Path(file)) if file else ""
